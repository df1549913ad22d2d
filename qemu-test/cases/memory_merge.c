/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "equal pages go on being merged, of all memory and of what is to come");

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#define PR_GET_MEMORY_MERGE 68
#endif

static void run(void)
{
	uint8_t *at = map(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS), *fresh;
	char maps[256], before[256], after[256];

	for (int page = 0; page < 64; page++)
		fill(at + page * PAGE, PAGE, page % 4);
	/* Linux 6.4; CONFIG_KSM. */
	if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0)) {
		ready();
		return;
	}
	must(smaps_of(at, maps, sizeof(maps), before, sizeof(before)) && strstr(before, " mg "));

	ready();

	check(prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) == 1, "it is switched off");
	check(smaps_of(at, maps, sizeof(maps), after, sizeof(after)) && !strcmp(before, after), "flags were%sand are%s",
	      before, after);
	fresh = map(NULL, PAGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_NORESERVE);
	check(smaps_of(fresh, maps, sizeof(maps), after, sizeof(after)) && strstr(after, " mg "),
	      "new memory is not merged:%s", after);
	for (int page = 0; page < 64; page++)
		check(!spoiled(at + page * PAGE, PAGE, page % 4), "page %d", page);
}
