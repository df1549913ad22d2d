/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "witness.h"

CASE(.what = "a tool that is killed at any of its steps leaves no trace in the threads of the program",
     .drives_itself = true);

/* Returns whether the tool came to that step. */
static bool killed_here(int at)
{
	const char *to = images();
	struct witness_looks before;
	char number[16];
	bool killed;
	int end = 0;

	witness_start();
	before = witness_looks();
	snprintf(number, sizeof(number), "%d", witness->pid);
	killed = tool_killed_at(at, witness_disturb, &end,
				(const char *const[]){ "dump", "--leave-running", "--tree", number,
						       "--images-dir", to, NULL });
	if (!killed)
		witness_disturb();
	witness_testifies(killed_at, before);
	check(names_in(to) <= 1, "%s: %d names in the directory", killed_at, names_in(to));
	check(killed || end == 0, "the tool that was not killed: %d: %s", end, tool_said());
	witness_end();
	return killed;
}

static void run(void)
{
	int all;

	check(!killed_here(INT_MAX), "it was killed");
	all = steps_made;
	for (int at = step_after(-1, all); killed_here(at) && !case_failures; at = step_after(at, all))
		;
}
