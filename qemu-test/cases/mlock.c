/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "locked memory stays locked, in the same way");

static void run(void)
{
	uint8_t *at[4];
	char before[4][256], after[256], maps[256];

	for (int i = 0; i < 4; i++) {
		at[i] = map(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS);
		fill(at[i] + PAGE, PAGE, i);
		/* Keeps it apart from the next. */
		map(NULL, PAGE, PROT_NONE, ANONYMOUS);
	}
	must(!mlock(at[0], 16 * PAGE));
	must(!mlock2(at[1], 16 * PAGE, MLOCK_ONFAULT));
	must(!mlock(at[2], 16 * PAGE) && !mprotect(at[2], 16 * PAGE, PROT_NONE));
	for (int i = 0; i < 4; i++)
		must(smaps_of(at[i], maps, sizeof(maps), before[i], sizeof(before[i])));
	must(strstr(before[0], " lo ") && !strstr(before[3], " lo "));

	ready();

	for (int i = 0; i < 4; i++) {
		check(smaps_of(at[i], maps, sizeof(maps), after, sizeof(after)), "mapping %d is gone", i);
		check(!strcmp(before[i], after), "mapping %d was%sand is%s", i, before[i], after);
		if (i != 2)
			check(!spoiled(at[i] + PAGE, PAGE, i), "contents of %d", i);
	}
	must(!mprotect(at[2], 16 * PAGE, PROT_READ));
	check(!spoiled(at[2] + PAGE, PAGE, 2), "contents of 2");
}
