/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a process that is stopped stays stopped, and goes on when it is continued");

static void run(void)
{
	pid_t child;
	int status;

	must((child = fork()) >= 0);
	if (!child) {
		raise(SIGSTOP);
		_exit(5);
	}
	must(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
	ready();
	check(waitpid(child, &status, WNOHANG) == 0, "it ended: %x", status);
	must(!kill(child, SIGCONT));
	check(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 5,
	      "status %x", status);
}
