/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/file.h>

CASE(.what = "file locks are held again");

static void run(void)
{
	char path[PATH_MAX], other_path[PATH_MAX];
	struct flock lock = { .l_type = F_WRLCK, .l_start = 10, .l_len = 5 }, ofd;
	int whole, range, status, probe;
	pid_t child;

	snprintf(path, sizeof(path), "%s/locked", case_dir);
	snprintf(other_path, sizeof(other_path), "%s/ranges", case_dir);
	whole = open(path, O_RDWR | O_CREAT, 0600);
	range = open(other_path, O_RDWR | O_CREAT, 0600);
	must(whole >= 0 && range >= 0);
	must(flock(whole, LOCK_EX) == 0);
	must(fcntl(range, F_SETLK, &lock) == 0);
	ofd = (struct flock){ .l_type = F_RDLCK, .l_start = 100, .l_len = 0 };
	must(fcntl(range, F_OFD_SETLK, &ofd) == 0);

	ready();
	child = fork();
	if (child == 0) {
		probe = open(path, O_RDWR);
		check(flock(probe, LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK, "no flock");
		lock = (struct flock){ .l_type = F_WRLCK, .l_start = 0, .l_len = 50 };
		check(fcntl(range, F_GETLK, &lock) == 0 && lock.l_type == F_WRLCK && lock.l_start == 10 &&
		      lock.l_len == 5 && lock.l_pid == getppid(), "no POSIX lock: %d", lock.l_type);
		probe = open(other_path, O_RDWR);
		lock = (struct flock){ .l_type = F_WRLCK, .l_start = 200, .l_len = 1 };
		check(fcntl(probe, F_GETLK, &lock) == 0 && lock.l_type == F_RDLCK && lock.l_start == 100 &&
		      lock.l_pid == -1, "no lock of the description: %d", lock.l_type);
		_exit(case_failures ? 1 : 0);
	}
	check(waitpid(child, &status, 0) == child && status == 0, "the child's status is %#x", status);
}
