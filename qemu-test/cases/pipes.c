/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "pipes keep contents, capacity and flags, and end when their last writer closes");

static void run(void)
{
	static char page[4096], got[1 << 17];
	int plain[2], big[2], full[2], family[2], widow[2], again, status;
	ssize_t filled = 0, n;
	pid_t child;
	char c;

	must(pipe(plain) == 0);
	must(write(plain[1], "hello", 5) == 5);
	must(write(plain[1], "world", 5) == 5);
	/* A second description of the same pipe. */
	snprintf(got, sizeof(got), "/proc/self/fd/%d", plain[0]);
	again = open(got, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	must(again >= 0);

	must(pipe2(big, O_CLOEXEC) == 0);
	must(fcntl(big[0], F_SETPIPE_SZ, 1 << 17) == 1 << 17);
	memset(got, 'b', 100000);
	must(write(big[1], got, 100000) == 100000);

	must(pipe2(full, O_NONBLOCK) == 0);
	memset(page, 'f', sizeof(page));
	while ((n = write(full[1], page, sizeof(page))) > 0)
		filled += n;
	must(filled == 65536);
	must(fcntl(full[0], F_SETFL, 0) == 0);

	must(pipe(widow) == 0);
	must(write(widow[1], "will", 4) == 4);
	close(widow[1]);

	must(pipe(family) == 0);
	child = fork();
	must(child >= 0);
	if (child == 0) {
		close(family[0]);
		await_file("go");
		check(write(family[1], "from the child", 14) == 14, "%s", strerror(errno));
		_exit(case_failures ? 1 : 0);
	}
	close(family[1]);

	ready();
	check(read(again, got, 5) == 5 && !memcmp(got, "hello", 5), "read %.5s", got);
	check(read(plain[0], got, 100) == 5 && !memcmp(got, "world", 5), "read %.5s", got);
	check(read(again, got, 1) == -1 && errno == EAGAIN, "the second reader blocks");
	check(fcntl(again, F_GETFD) == FD_CLOEXEC && fcntl(plain[0], F_GETFL) == O_RDONLY, "flags");

	check(fcntl(big[1], F_GETPIPE_SZ) == 1 << 17, "capacity %d", fcntl(big[1], F_GETPIPE_SZ));
	check(fcntl(big[0], F_GETFD) == FD_CLOEXEC, "close-on-exec is gone");
	memset(got, 0, sizeof(got));
	check(read(big[0], got, sizeof(got)) == 100000 && got[0] == 'b' && got[99999] == 'b', "contents");

	check(write(full[1], "x", 1) == -1 && errno == EAGAIN, "the full pipe has room");
	check(fcntl(full[0], F_GETFL) == O_RDONLY, "the reader got the writer's flags");
	for (n = 0; n < filled; n += 4096)
		check(read(full[0], got, 4096) == 4096 && !memcmp(got, page, 4096), "page at %zd", n);
	check(write(full[1], "x", 1) == 1 && read(full[0], &c, 1) == 1 && c == 'x', "it does not go on");

	check(read(widow[0], got, 100) == 4 && !memcmp(got, "will", 4), "read %.4s", got);
	check(read(widow[0], got, 100) == 0, "no end of the pipe without a writer");

	check(read(family[0], got, 100) == 14 && !memcmp(got, "from the child", 14), "read %.14s", got);
	check(waitpid(child, &status, 0) == child && status == 0, "the child's status is %#x", status);
	check(read(family[0], got, 100) == 0, "no end of the pipe after the child's exit");
}
