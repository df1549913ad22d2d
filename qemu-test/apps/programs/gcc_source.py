# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Prints a C program that keeps a compiler busy: many functions, each of a few loops, branches and tables."""

FUNCTIONS = 150

print("#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n")
for n in range(FUNCTIONS):
    a, b, c = (n * 2654435761 + k * 40503) % 65521 if (k := n % 7) else n + 1, n % 13 + 3, n * n % 97 + 2
    print(f"""
static const uint32_t table_{n}[] = {{ {", ".join(str((a * i + b) % 4093) for i in range(16))} }};

uint32_t function_{n}(const uint32_t *in, uint32_t *out, size_t count)
{{
	uint32_t sum = {a};

	for (size_t i = 0; i < count; i++) {{
		uint32_t x = in[i] ^ table_{n}[(i + {b}) % 16];

		switch (x % {b}) {{
		case 0: sum += x * {c}; break;
		case 1: sum ^= x << (i % 7); break;
		case 2: out[i] = sum - x; continue;
		default: sum = (sum << 3 | sum >> 29) + table_{n}[x % 16];
		}}
		for (unsigned j = 0; j < x % {c}; j++)
			out[i] += sum / (j + 1) {f"+ function_{n - 1}(in + 1, out, i / 2)" if n % 5 == 4 else ""};
	}}
	return sum;
}}""")
