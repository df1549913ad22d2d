/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a memfd that a process outside has too is refused", .refused = "which is not in the tree, has it too (fd/");

static void run(void)
{
	int fd = memfd_create("shared", 0), fds[2];
	char byte = 0;

	must(fd >= 0 && pwrite(fd, "x", 1, 0) == 1 && !pipe(fds));
	/* Who holds the other end of the pipe has inherited the memfd; the pipe is closed here. */
	hold_outside(fds[0], fds[1]);
	close(fds[0]);

	ready();
	check(pread(fd, &byte, 1, 0) == 1 && byte == 'x', "%s", strerror(errno));
}
