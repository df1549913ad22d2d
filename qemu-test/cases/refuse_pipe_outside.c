/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"


CASE(.what = "a pipe to a program outside of the tree is refused, and goes on", .refused = "held by a program outside of the tree");

static void run(void)
{
	int fds[2], status;
	char c;
	pid_t child;

	/* The writer leaves the tree: its parent is gone. */
	must(pipe(fds) == 0);
	child = fork();
	must(child >= 0);
	if (child == 0) {
		if (fork() == 0) {
			close(fds[0]);
			await_file("go");
			_exit(write(fds[1], "x", 1) != 1);
		}
		_exit(0);
	}
	must(waitpid(child, &status, 0) == child);
	close(fds[1]);

	ready();
	check(read(fds[0], &c, 1) == 1, "nothing comes out of the pipe");
}
