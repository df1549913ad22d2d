/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"

CASE(.what = "a tool that is killed while it dumps leaves the program running, and half an image nowhere",
     .drives_itself = true);

static void run(void)
{
	/* From before its first system call to after its last. */
	for (long us = 100; us < 400000 && !tool_dies_after(SIGKILL, us); us = us * 5 / 4)
		;
}
