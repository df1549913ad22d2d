/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/signalfd.h>

CASE(.what = "a signalfd reads the signals that it read, also one that was pending");

static void run(void)
{
	struct signalfd_siginfo info;
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 3);
	must(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	must(fd >= 0);
	must(raise(SIGUSR1) == 0);

	ready();
	check(read(fd, &info, sizeof(info)) == sizeof(info) && info.ssi_signo == SIGUSR1, "the pending one");
	check(read(fd, &info, sizeof(info)) == -1 && errno == EAGAIN, "one more");
	must(raise(SIGRTMIN + 3) == 0);
	check(read(fd, &info, sizeof(info)) == sizeof(info) && (int)info.ssi_signo == SIGRTMIN + 3, "a new one");
	check(fcntl(fd, F_GETFD) == FD_CLOEXEC, "close-on-exec is gone");
}
