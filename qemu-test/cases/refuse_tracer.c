/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/ptrace.h>

CASE(.what = "a process that traces another one is refused, and goes on tracing", .refused = "traces it already");

static void run(void)
{
	pid_t child;
	int status;

	must((child = fork()) >= 0);
	if (!child) {
		await_file("go");
		raise(SIGUSR1);
		_exit(7);
	}
	must(!ptrace(PTRACE_SEIZE, child, 0, 0));
	ready();
	check(waitpid(child, &status, __WALL) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGUSR1,
	      "status %x", status);
	must(!ptrace(PTRACE_CONT, child, 0, 0));
	check(waitpid(child, &status, __WALL) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7,
	      "status %x", status);
}
