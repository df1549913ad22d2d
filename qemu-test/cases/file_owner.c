/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a pipe with O_ASYNC signals its owner");

static volatile sig_atomic_t got, from;

static void note(int signal, siginfo_t *info, void *context)
{
	(void)context;
	got = signal;
	from = info->si_fd;
}

static void run(void)
{
	struct sigaction action = { .sa_sigaction = note, .sa_flags = SA_SIGINFO };
	struct f_owner_ex owner = { F_OWNER_TID, syscall(SYS_gettid) };
	int fds[2];

	must(pipe(fds) == 0);
	must(sigaction(SIGRTMIN, &action, NULL) == 0);
	must(fcntl(fds[0], F_SETOWN_EX, &owner) == 0 && fcntl(fds[0], F_SETSIG, SIGRTMIN) == 0);
	must(fcntl(fds[0], F_SETFL, O_ASYNC) == 0);

	ready();
	check(!got, "a signal that nobody sent");
	check(fcntl(fds[0], F_GETFL) & O_ASYNC, "flags %#o", fcntl(fds[0], F_GETFL));
	check(write(fds[1], "x", 1) == 1, "%s", strerror(errno));
	check(got == SIGRTMIN && from == fds[0], "signal %d of fd %d", (int)got, (int)from);
}
