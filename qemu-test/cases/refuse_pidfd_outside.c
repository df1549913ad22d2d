/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a pidfd of a process outside of the tree is refused", .refused = "which is not part of the tree");

static void run(void)
{
	int fd = syscall(SYS_pidfd_open, getppid(), 0);

	must(fd >= 0);
	ready();
	check(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0, "%s", strerror(errno));
}
