/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a vfork that does not come to an end is refused, and comes to one later", .refused = "vfork");

static int said[2];

static void run(void)
{
	pid_t child, grandchild;
	int status;
	char c;

	must(!pipe(said));
	must((child = fork()) >= 0);
	if (!child) {
		grandchild = vfork();
		if (!grandchild) {
			if (write(said[1], "x", 1) != 1)
				_exit(1);
			await_file("go");
			_exit(6);
		}
		must(grandchild > 0);
		check(waitpid(grandchild, &status, 0) == grandchild, "it is not there");
		check(WIFEXITED(status) && WEXITSTATUS(status) == 6, "status %x", status);
		_exit(case_failures ? 1 : 0);
	}
	must(read(said[0], &c, 1) == 1);
	ready();
	check(waitpid(child, &status, 0) == child && status == 0, "status %x", status);
}
