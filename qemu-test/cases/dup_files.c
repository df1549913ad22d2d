/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "descriptors that share an offset still do, in all processes, and others do not");

static int temporary(void)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/data", case_dir);
	fd = open(path, O_RDWR | O_CREAT, 0644);
	must(fd >= 0);
	return fd;
}

static void run(void)
{
	int shared = temporary(), separate = temporary();
	int twin = dup(shared), far = dup2(shared, 77);
	int own, status;
	pid_t child;

	must(twin >= 0 && far == 77);
	must(ftruncate(shared, 1000) == 0);
	must(lseek(shared, 100, SEEK_SET) == 100);
	must(lseek(separate, 200, SEEK_SET) == 200);
	child = fork();
	must(child >= 0);
	if (child == 0) {
		/* What only the child has, and in another place. */
		close(twin);
		own = fcntl(shared, F_DUPFD, 50);
		close(shared);
		must(own == 50);
		leave_file("child");
		await_file("go");
		check(lseek(own, 11, SEEK_CUR) == 111, "child: not at 111");
		check(lseek(separate, 0, SEEK_CUR) == 200, "child: not at 200");
		check(fcntl(shared, F_GETFD) == -1, "child: a closed descriptor is open");
		leave_file("moved");
		await_file("seen");
		_exit(case_failures ? 1 : 0);
	}
	await_file("child");

	ready();
	await_file("moved");
	check(lseek(shared, 0, SEEK_CUR) == 111, "at %ld", (long)lseek(shared, 0, SEEK_CUR));
	check(lseek(twin, 0, SEEK_CUR) == 111, "the duplicate is not there");
	check(lseek(77, 1, SEEK_CUR) == 112 && lseek(shared, 0, SEEK_CUR) == 112, "77 is separate");
	check(lseek(separate, 0, SEEK_CUR) == 200, "the separate one moved");
	unlinkat(AT_FDCWD, "moved", 0);
	leave_file("seen");
	check(waitpid(child, &status, 0) == child && status == 0, "the child's status is %#x", status);
	unlinkat(AT_FDCWD, "seen", 0);
}
