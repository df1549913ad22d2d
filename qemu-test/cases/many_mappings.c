/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "10,000 mappings are the same mappings");

enum { COUNT = 10000 };

/* How many lines of maps lie within a range, and a sum over their addresses and protections. */
static size_t list(uint8_t *start, uint8_t *end, uint64_t *sum)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long from, to;
	char prot[5], line[4096];
	size_t lines = 0;

	must(f);
	*sum = 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %4s", &from, &to, prot) != 3 || from < (unsigned long)start ||
		    to > (unsigned long)end)
			continue;
		lines++;
		*sum = (*sum * 31 + from) * 31 + to;
		for (int i = 0; i < 4; i++)
			*sum = *sum * 31 + prot[i];
	}
	fclose(f);
	return lines;
}

static void run(void)
{
	uint8_t *base = map(NULL, COUNT * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS), *end = base + COUNT * PAGE;
	uint64_t sum, after;
	size_t lines;

	for (size_t i = 0; i < COUNT; i++) {
		if (i % 3 == 0)
			((uint64_t *)(base + i * PAGE))[7] = i;
		if (i % 2)
			must(!mprotect(base + i * PAGE, PAGE, PROT_READ));
	}
	lines = list(base, end, &sum);
	must(lines >= COUNT - 2);

	ready();

	check(list(base, end, &after) == lines && after == sum, "%zu lines before, %zu after", lines,
	      list(base, end, &after));
	for (size_t i = 0; i < COUNT; i++)
		check(((uint64_t *)(base + i * PAGE))[7] == (i % 3 ? 0 : i), "page %zu", i);
}
