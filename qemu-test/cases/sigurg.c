/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

#include <pthread.h>

CASE(.what = "the signals that crust itself uses are kept too, those of a process and of a thread");

static __thread volatile sig_atomic_t value, code;
static volatile bool taken;

static void note(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	value = info->si_value.sival_int;
	code = info->si_code;
}

/* Unblocks it: what waits comes at once. */
static void comes(int signal, const char *whose, int expected)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal);
	must(!pthread_sigmask(SIG_UNBLOCK, &set, NULL));
	check(value == expected && code == SI_QUEUE, "signal %d of %s: value %d, code %d", signal, whose, (int)value, (int)code);
}

static void *in_thread(void *arg)
{
	(void)arg;
	must(!pthread_sigqueue(pthread_self(), SIGURG, (union sigval){ .sival_int = 42 }));
	must(!pthread_sigqueue(pthread_self(), SIGWINCH, (union sigval){ .sival_int = 43 }));
	leave_file("queued");
	/* The main thread takes what came for the process. */
	while (!taken)
		pause_ms(1);
	comes(SIGURG, "the thread", 42);
	comes(SIGWINCH, "the thread", 43);
	return NULL;
}

static void run(void)
{
	struct sigaction act = { .sa_sigaction = note, .sa_flags = SA_SIGINFO };
	pthread_t thread;
	sigset_t set;

	must(!sigaction(SIGURG, &act, NULL) && !sigaction(SIGWINCH, &act, NULL));
	sigemptyset(&set);
	sigaddset(&set, SIGURG);
	sigaddset(&set, SIGWINCH);
	must(!pthread_sigmask(SIG_BLOCK, &set, NULL));
	must(!sigqueue(getpid(), SIGURG, (union sigval){ .sival_int = 41 }));
	must(!pthread_create(&thread, NULL, in_thread, NULL));
	await_file("queued");

	ready();

	comes(SIGURG, "the process", 41);
	taken = true;
	must(!pthread_join(thread, NULL));
}
