/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "advice about memory stays given: the kernel's flags are the same");

static void run(void)
{
	static const struct { int advice; const char *flag; } given[] = {
		{ MADV_DONTFORK, " dc " }, { MADV_WIPEONFORK, " wf " }, { MADV_DONTDUMP, " dd " },
		{ MADV_HUGEPAGE, " hg " }, { MADV_NOHUGEPAGE, " nh " }, { MADV_SEQUENTIAL, " sr " },
		{ MADV_RANDOM, " rr " }, { MADV_MERGEABLE, " mg " }, { MADV_NORMAL, " rd " },
	};
	enum { GIVEN = sizeof(given) / sizeof(given[0]) };
	/* The last ones: no reservation, growing down, droppable. */
	static const int flags[] = { MAP_PRIVATE | MAP_NORESERVE, MAP_PRIVATE | MAP_GROWSDOWN, 0x08 };
	enum { ALL = GIVEN + sizeof(flags) / sizeof(flags[0]) };
	char before[ALL][256], after[256], maps[256];
	uint8_t *at[ALL];

	for (int i = 0; i < ALL; i++) {
		/* Apart from each other, also after a stack gap of 1 MiB. */
		uint8_t *space = map(NULL, 8 << 20, PROT_NONE, ANONYMOUS);

		must(!munmap(space, 8 << 20));
		if (i < GIVEN) {
			at[i] = map(space + (4 << 20), 4 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_FIXED);
			/* A kernel without huge pages, or without KSM, says EINVAL. */
			if (!madvise(at[i], 4 * PAGE, given[i].advice))
				must(smaps_of(at[i], maps, sizeof(maps), before[i], sizeof(before[i])) &&
				     strstr(before[i], given[i].flag));
		} else {
			at[i] = mmap(space + (4 << 20), 4 * PAGE, PROT_READ | PROT_WRITE,
				     MAP_ANONYMOUS | MAP_FIXED | flags[i - GIVEN], -1, 0);
			/* MAP_DROPPABLE is of Linux 6.11. */
			if (at[i] == MAP_FAILED)
				continue;
		}
		fill(at[i], PAGE, i);
		must(smaps_of(at[i], maps, sizeof(maps), before[i], sizeof(before[i])));
		/* A neighbour that keeps the place. */
		map(space, PAGE, PROT_NONE, ANONYMOUS | MAP_FIXED_NOREPLACE);
	}

	ready();

	for (int i = 0; i < ALL; i++) {
		if (at[i] == MAP_FAILED)
			continue;
		check(smaps_of(at[i], maps, sizeof(maps), after, sizeof(after)), "mapping %d is gone", i);
		check(!strcmp(before[i], after), "mapping %d was%sand is%s", i, before[i], after);
		/* What is droppable may have been dropped. */
		if (!strstr(before[i], " dp "))
			check(!spoiled(at[i], PAGE, i), "contents of %d", i);
	}
}
