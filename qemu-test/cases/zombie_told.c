/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a parent that was told of the end of a child is not told again by the restore");

static volatile sig_atomic_t told;

static void note(int signal)
{
	(void)signal;
	told++;
}

static void run(void)
{
	struct sigaction act = { .sa_handler = note };
	siginfo_t info;
	pid_t child;
	int status;

	must(!sigaction(SIGCHLD, &act, NULL));
	must((child = fork()) >= 0);
	if (!child)
		_exit(7);
	/* The handler of SIGCHLD may interrupt it. */
	while (waitid(P_PID, child, &info, WEXITED | WNOWAIT))
		must(errno == EINTR);
	must(told == 1);
	ready();
	check(told == 1, "told %d times", (int)told);
	check(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7, "status %x", status);
}
