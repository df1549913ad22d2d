/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "clock.h"

CASE(.what = "a tree whose children are to be in another time namespace is refused",
     .refused = "time namespace");

static void run(void)
{
	int status;
	pid_t child;

	must(!unshare(CLONE_NEWTIME));
	must((child = fork()) >= 0);
	if (!child) {
		await_file("go");
		_exit(0);
	}
	ready();
	check(waitpid(child, &status, 0) == child && !status, "child: %x", status);
}
