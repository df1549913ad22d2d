/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a child subreaper goes on adopting orphans");

static void run(void)
{
	pid_t child, orphan[1] = { 0 };
	int ends[2], on = 0, status;

	must(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	must(!pipe(ends));
	must((child = fork()) >= 0);
	if (!child) {
		pid_t pid = fork();

		must(pid >= 0);
		if (!pid) {
			pid_t parent = getppid();

			while (getppid() == parent)
				pause_ms(1);
			_exit(getppid() == getsid(0) ? 33 : 34);
		}
		must(write(ends[1], &pid, sizeof(pid)) == sizeof(pid));
		await_file("go");
		_exit(0);
	}
	must(read(ends[0], orphan, sizeof(pid_t)) == sizeof(pid_t));
	ready();
	must(!prctl(PR_GET_CHILD_SUBREAPER, &on));
	check(on == 1, "it is no subreaper");
	check(waitpid(child, &status, 0) == child && status == 0, "status %x", status);
	check(waitpid(orphan[0], &status, 0) == orphan[0] && WEXITSTATUS(status) == 33, "status %x", status);
	/* Nor has it got a child that it does not know: crust's copy of a process left running. */
	check(waitpid(-1, &status, __WALL) < 0 && errno == ECHILD, "a child too many, status %x", status);
}
