/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a pidfd of a process that was waited for is refused", .refused = "was waited for");

static void run(void)
{
	pid_t child = fork();
	int fd;

	must(child >= 0);
	if (!child)
		_exit(0);
	fd = syscall(SYS_pidfd_open, child, 0);
	must(fd >= 0 && waitpid(child, NULL, 0) == child);
	ready();
	check(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == -1 && errno == ESRCH, "%s", strerror(errno));
}
