/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

CASE(.what = "signal actions, masks and pending signals are kept, with values and in order");

static volatile int order[16], values[16], codes[16], got;
static volatile pid_t senders[16];

static void note(int signal, siginfo_t *info, void *context)
{
	(void)context;
	order[got] = signal;
	values[got] = info->si_value.sival_int;
	codes[got] = info->si_code;
	senders[got] = info->si_pid;
	got++;
}

static void run(void)
{
	static const int kept_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER | SA_ONSTACK;
	struct sigaction act = { .sa_sigaction = note, .sa_flags = kept_flags }, now;
	sigset_t blocked, old, pending;

	sigemptyset(&act.sa_mask);
	sigaddset(&act.sa_mask, SIGUSR2);
	sigaddset(&act.sa_mask, SIGRTMAX);
	must(!sigaction(SIGUSR1, &act, NULL));
	act.sa_flags = SA_SIGINFO;
	sigfillset(&act.sa_mask);
	for (int i = 0; i < 4; i++)
		must(!sigaction(SIGRTMIN + i, &act, NULL));
	must(!sigaction(SIGTERM, &act, NULL));
	must(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	must(signal(SIGHUP, SIG_DFL) != SIG_ERR);
	must(signal(SIGCHLD, SIG_IGN) != SIG_ERR);

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGUSR2);
	for (int i = 0; i < 4; i++)
		sigaddset(&blocked, SIGRTMIN + i);
	must(!sigprocmask(SIG_BLOCK, &blocked, &old));
	must(!sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ .sival_int = 21 }));
	must(!sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = 11 }));
	must(!sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = 12 }));
	must(!sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = 13 }));
	must(!kill(getpid(), SIGTERM));
	/* Of the thread, and not of the process. */
	must(!pthread_sigqueue(pthread_self(), SIGRTMIN + 3, (union sigval){ .sival_int = 31 }));
	ready();

	must(!sigaction(SIGUSR1, NULL, &now));
	now.sa_flags &= ~0x04000000; /* SA_RESTORER, which is the C library's */
	check(now.sa_sigaction == note && now.sa_flags == kept_flags, "flags %x", now.sa_flags);
	check(sigismember(&now.sa_mask, SIGUSR2) == 1 && sigismember(&now.sa_mask, SIGRTMAX) == 1 &&
	      sigismember(&now.sa_mask, SIGINT) == 0, "mask of SIGUSR1");
	must(!sigaction(SIGPIPE, NULL, &now));
	check(now.sa_handler == SIG_IGN, "SIGPIPE is not ignored");
	must(!sigaction(SIGHUP, NULL, &now));
	check(now.sa_handler == SIG_DFL, "SIGHUP has a handler");
	must(!sigaction(SIGCHLD, NULL, &now));
	check(now.sa_handler == SIG_IGN, "SIGCHLD is not ignored");

	must(!sigprocmask(SIG_BLOCK, NULL, &old));
	check(sigismember(&old, SIGTERM) == 1 && sigismember(&old, SIGUSR1) == 0, "mask");
	must(!sigpending(&pending));
	check(sigismember(&pending, SIGTERM) == 1 && sigismember(&pending, SIGUSR2) == 0, "pending");
	check(got == 0, "%d signals came early", got);
	must(!sigprocmask(SIG_UNBLOCK, &blocked, NULL));
	check(got == 6, "%d signals", got);
	/* Those of the thread first, then by number, and by age among the same. */
	check(order[0] == SIGRTMIN + 3 && values[0] == 31 && codes[0] == SI_QUEUE,
	      "first is %d, %d", order[0], values[0]);
	check(order[1] == SIGTERM && codes[1] == SI_USER && senders[1] == getpid(),
	      "second is %d of %d, code %d", order[1], senders[1], codes[1]);
	for (int i = 0; i < 3; i++)
		check(order[2 + i] == SIGRTMIN + 1 && values[2 + i] == 11 + i,
		      "number %d is %d, %d", 2 + i, order[2 + i], values[2 + i]);
	check(order[5] == SIGRTMIN + 2 && values[5] == 21, "last is %d, %d", order[5], values[5]);
}
