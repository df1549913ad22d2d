/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/eventfd.h>

CASE(.what = "eventfds keep count and mode, also across processes");

static void run(void)
{
	int plain = eventfd(5, EFD_CLOEXEC), semaphore = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
	int large = eventfd(0, 0), shared = eventfd(0, 0), status;
	uint64_t n = 1ULL << 40;
	pid_t child;

	must(plain >= 0 && semaphore >= 0 && large >= 0 && shared >= 0);
	must(write(large, &n, 8) == 8);
	child = fork();
	must(child >= 0);
	if (child == 0) {
		/* Blocks until the parent, restored, writes. */
		_exit(read(shared, &n, 8) == 8 && n == 7 ? 0 : 1);
	}

	ready();
	check(read(plain, &n, 8) == 8 && n == 5, "count is %llu", (unsigned long long)n);
	check(fcntl(plain, F_GETFD) == FD_CLOEXEC, "close-on-exec is gone");
	for (int i = 0; i < 3; i++)
		check(read(semaphore, &n, 8) == 8 && n == 1, "read %llu", (unsigned long long)n);
	check(read(semaphore, &n, 8) == -1 && errno == EAGAIN, "the semaphore has more than 3");
	check(read(large, &n, 8) == 8 && n == 1ULL << 40, "count is %llu", (unsigned long long)n);
	n = 7;
	check(write(shared, &n, 8) == 8, "%s", strerror(errno));
	check(waitpid(child, &status, 0) == child && status == 0, "the child's status is %#x", status);
}
