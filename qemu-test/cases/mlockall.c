/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "a program that has locked all its memory has all of it locked");

/* Counts the mappings, and those that are locked. */
static int count(int *locked)
{
	static char text[1 << 20];
	char *line, *save;
	int all = 0;

	*locked = 0;
	text[slurp("/proc/self/smaps", text, sizeof(text) - 1)] = 0;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (!strncmp(line, "VmFlags:", 8)) {
			all++;
			*locked += !!strstr(line, " lo ");
		}
	return all;
}

static void run(void)
{
	uint8_t *at = map(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS);
	int all, locked, after;

	/* Memory that cannot be locked for there is nothing to be seen. */
	map(NULL, 64 * PAGE, PROT_NONE, ANONYMOUS);
	fill(at, 32 * PAGE, 1);
	count(&locked);
	must(!mlockall(MCL_CURRENT | MCL_FUTURE));
	all = count(&locked);
	must(locked > all - 5);

	ready();

	check(count(&after) == all, "%d mappings, and there were %d", count(&after), all);
	check(after == locked, "%d are locked, and %d were", after, locked);
	check(!spoiled(at, 32 * PAGE, 1), "contents");
}
