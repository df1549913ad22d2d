/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "1,000 children that have ended are all waited for after the restore");

enum { COUNT = 1000 };

static void run(void)
{
	static pid_t children[COUNT];
	siginfo_t info;
	int status;

	for (int i = 0; i < COUNT; i++) {
		must((children[i] = fork()) >= 0);
		if (!children[i])
			_exit(i % 256);
	}
	for (int i = 0; i < COUNT; i++)
		must(!waitid(P_PID, children[i], &info, WEXITED | WNOWAIT));
	ready();
	for (int i = 0; i < COUNT; i++) {
		check(waitpid(children[i], &status, 0) == children[i], "child %d is not there", i);
		check(WIFEXITED(status) && WEXITSTATUS(status) == i % 256, "child %d: status %x", i, status);
	}
	check(waitpid(-1, &status, 0) == -1 && errno == ECHILD, "one child too many");
}
