/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "pty.h"

CASE(.what = "the controlling side of a terminal whose session is not in the tree is refused",
     .refused = "the controlling side of the terminal of session");

static void run(void)
{
	char name[64], byte;
	int master = pty_open(name, 0), fds[2], status;
	pid_t parent;

	must(!pipe(fds) && (parent = fork()) >= 0);
	if (!parent) {
		if (!fork()) {
			setsid();
			must(open(name, O_RDWR) >= 0);
			must(write(fds[1], "x", 1) == 1);
			close(fds[0]);
			close(fds[1]);
			await_file("go");
			_exit(0);
		}
		_exit(0);
	}
	must(waitpid(parent, &status, 0) == parent && read(fds[0], &byte, 1) == 1);
	close(fds[0]);
	close(fds[1]);
	ready();
	check(!ioctl(master, TIOCGPTN, &status), "%s", strerror(errno));
}
