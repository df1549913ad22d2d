/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

/*
 * A process that waits for its vfork child cannot be stopped. A dump that comes
 * in between waits until the child has executed its program.
 */
CASE(.what = "a vfork that is under way is waited for");

static int said[2];

static void run(void)
{
	char number[16], *args[] = { "sh", "-c", "read line <&$0 && exit 6", number, NULL };
	int status, ends[2];
	pid_t child, grandchild;
	char c;

	must(!pipe(said) && !pipe(ends));
	snprintf(number, sizeof(number), "%d", ends[0]);
	must((child = fork()) >= 0);
	if (!child) {
		grandchild = vfork();
		if (!grandchild) {
			if (write(said[1], "x", 1) != 1)
				_exit(1);
			/* The dump has come: it traces our parent, and waits for it to stop. */
			while (status_of(getppid(), "TracerPid") <= 0)
				pause_ms(1);
			execv("/bin/sh", args);
			_exit(1);
		}
		must(grandchild > 0);
		check(waitpid(grandchild, &status, 0) == grandchild, "it is not there");
		check(WIFEXITED(status) && WEXITSTATUS(status) == 6, "status %x", status);
		_exit(case_failures ? 1 : 0);
	}
	must(read(said[0], &c, 1) == 1);
	ready();
	must(write(ends[1], "\n", 1) == 1);
	check(waitpid(child, &status, 0) == child && status == 0, "status %x", status);
}
