/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "memory of which every second page was touched keeps all of them");

/* More stretches of pages than the kernel tells of at once (512), and fewer than crust asks for (4096). */
#define PAGES 1800
#define BEHIND 4096
#define SIZE 4096

static void run(void)
{
	char *memory = mmap(NULL, (PAGES + BEHIND) * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int i;

	must(memory != MAP_FAILED);
	/* A huge page would be one stretch. */
	must(madvise(memory, (PAGES + BEHIND) * SIZE, MADV_NOHUGEPAGE) == 0);
	for (i = 0; i < PAGES; i += 2)
		memcpy(memory + i * SIZE, &i, sizeof(i));
	ready();
	for (i = 0; i < PAGES + BEHIND; i++) {
		int expected = i < PAGES && i % 2 == 0 ? i : 0, found;

		memcpy(&found, memory + i * SIZE, sizeof(found));
		check(found == expected, "page %d holds %d", i, found);
	}
}
