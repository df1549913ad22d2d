/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "100,000 single pages, with nothing between them, are those pages");

enum { COUNT = 100000 };

static void run(void)
{
	uint8_t *base = map(NULL, 2 * COUNT * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_NORESERVE);
	unsigned long pages, after;
	char text[128] = "";

	must(!madvise(base, 2 * COUNT * PAGE, MADV_NOHUGEPAGE));
	for (size_t i = 0; i < COUNT; i++) {
		uint64_t *page = (uint64_t *)(base + 2 * i * PAGE);

		page[0] = page[511] = pattern(7, i);
	}
	slurp("/proc/self/statm", text, sizeof(text) - 1);
	must(sscanf(text, "%*u %lu", &pages) == 1);

	ready();

	slurp("/proc/self/statm", text, sizeof(text) - 1);
	must(sscanf(text, "%*u %lu", &after) == 1);
	check(after < pages + 1000, "%lu pages in memory became %lu", pages, after);
	for (size_t i = 0; i < COUNT; i++) {
		uint64_t *page = (uint64_t *)(base + 2 * i * PAGE);

		check(page[0] == pattern(7, i) && page[511] == pattern(7, i) && !page[1], "page %zu", i);
	}
	for (size_t i = 0; i < COUNT; i += 997)
		check(!*(uint64_t *)(base + (2 * i + 1) * PAGE), "what is between page %zu and the next", i);
}
