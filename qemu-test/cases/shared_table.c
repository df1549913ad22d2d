/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a table of descriptors that processes share stays shared, with the locks that belong to it");

static int fd = -1, locked = -1;
/* Told through memory: a file would still be there when the same image is restored again. */
static _Atomic int *opened;

static void await_opened(void)
{
	while (!*opened)
		pause_ms(1);
}

static int grandchild(void *unused)
{
	(void)unused;
	await_opened();
	return fcntl(locked, F_GETFD) == FD_CLOEXEC ? 0 : 1;
}

static int child(void *unused)
{
	static char stack[65536] __attribute__((aligned(16)));
	pid_t pid = clone(grandchild, stack + sizeof(stack), CLONE_FILES | SIGCHLD, NULL);
	int status;
	char c;

	(void)unused;
	leave_file("grandchild");
	await_opened();
	/* Open in the parent's table, so in ours. */
	if (read(fd, &c, 1) != 1 || c != 'c' || close(fd))
		return 1;
	return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 2;
}

static void run(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	struct flock lock = { .l_type = F_WRLCK, .l_start = 3, .l_len = 5 };
	char path[PATH_MAX];
	int status, now;
	pid_t pid, other;

	snprintf(path, sizeof(path), "%s/locked", case_dir);
	must((locked = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) >= 0);
	must(!fcntl(locked, F_SETLK, &lock));
	snprintf(path, sizeof(path), "%s/content", case_dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	must(fd >= 0 && pwrite(fd, "c", 1, 0) == 1);
	close(fd);
	opened = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(opened != MAP_FAILED);
	/* The number that the next open gives is in the child's memory too. */
	pid = clone(child, stack + sizeof(stack), CLONE_FILES | SIGCHLD, NULL);
	must(pid > 0);
	await_file("grandchild");

	ready();
	now = open(path, O_RDONLY);
	check(now == fd, "the number is %d, not %d", now, fd);
	/* The lock belongs to the table: a process with another one meets it. */
	must((other = fork()) >= 0);
	if (!other) {
		must(!fcntl(locked, F_GETLK, &lock));
		_exit(lock.l_type == F_WRLCK ? 0 : 1);
	}
	check(waitpid(other, &status, 0) == other && status == 0, "the lock: status %#x", status);
	*opened = 1;
	check(waitpid(pid, &status, 0) == pid && status == 0, "the child's status is %#x", status);
	check(fcntl(fd, F_GETFD) == -1 && errno == EBADF, "the child closed it in a table of its own");
}
