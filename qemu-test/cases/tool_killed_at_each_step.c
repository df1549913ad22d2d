/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "witness.h"

CASE(.what = "a tool that is killed at any of its steps leaves no trace in the threads of the program",
     .drives_itself = true);

static void run(void)
{
	bool killed = true;
	int end = 0;

	/* Every fifth: what is step 7 today is step 8 tomorrow, for the tool waits for threads to stop. */
	for (int at = 0; killed && !case_failures; at += 5) {
		const char *to = images();
		struct witness_looks before;
		char number[16];

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
		witness_end();
	}
	check(end == 0, "the tool that was not killed: %d: %s", end, tool_said());
}
