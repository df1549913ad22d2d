/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a descriptor table that two processes share is refused, and stays shared",
     .refused = "shares it with process");

static int fd = -1;

static int child(void *unused)
{
	char c;

	(void)unused;
	await_file("opened");
	/* Open in the parent's table, so in ours. */
	return read(fd, &c, 1) == 1 && c == 'c' && close(fd) == 0 ? 0 : 1;
}

static void run(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	char path[PATH_MAX];
	int status, now;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/content", case_dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	must(fd >= 0 && pwrite(fd, "c", 1, 0) == 1);
	close(fd);
	/* The number that the next open gives is in the child's memory too. */
	pid = clone(child, stack + sizeof(stack), CLONE_FILES | SIGCHLD, NULL);
	must(pid > 0);

	ready();
	now = open(path, O_RDONLY);
	check(now == fd, "the number is %d, not %d", now, fd);
	leave_file("opened");
	check(waitpid(pid, &status, 0) == pid && status == 0, "the child's status is %#x", status);
	check(fcntl(fd, F_GETFD) == -1 && errno == EBADF, "the child closed it in a table of its own");
}
