/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

CASE(.what = "several threads that run on alternate stacks of their own go on there and return");

enum { THREADS = 4, SIZE = 1 << 16 };

static __thread stack_t alt;
static volatile int on_it, returned;

static void handler(int signal)
{
	stack_t now;

	(void)signal;
	__atomic_add_fetch(&on_it, 1, __ATOMIC_SEQ_CST);
	await_file("go");
	must(!sigaltstack(NULL, &now));
	check(now.ss_flags == SS_ONSTACK && now.ss_sp == alt.ss_sp && now.ss_size == SIZE, "flags %x", now.ss_flags);
}

/* SS_AUTODISARM: the kernel forgets the stack while a handler runs on it. */
static void disarmed(int signal)
{
	stack_t now;

	(void)signal;
	__atomic_add_fetch(&on_it, 1, __ATOMIC_SEQ_CST);
	await_file("go");
	must(!sigaltstack(NULL, &now));
	check(now.ss_flags == SS_DISABLE, "flags %x", now.ss_flags);
}

static void *body(void *arg)
{
	int autodisarm = (long)arg % 2;
	stack_t now;

	alt.ss_size = SIZE;
	must((alt.ss_sp = malloc(SIZE)));
	alt.ss_flags = autodisarm ? (int)(1U << 31) : 0;
	must(!sigaltstack(&alt, NULL));
	must(!pthread_kill(pthread_self(), autodisarm ? SIGUSR2 : SIGUSR1));
	must(!sigaltstack(NULL, &now));
	check(now.ss_flags == alt.ss_flags && now.ss_sp == alt.ss_sp && now.ss_size == SIZE, "after it: flags %x",
	      now.ss_flags);
	__atomic_add_fetch(&returned, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void run(void)
{
	struct sigaction act = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
	pthread_t threads[THREADS];

	must(!sigaction(SIGUSR1, &act, NULL));
	act.sa_handler = disarmed;
	must(!sigaction(SIGUSR2, &act, NULL));
	for (long i = 0; i < THREADS; i++)
		must(!pthread_create(&threads[i], NULL, body, (void *)i));
	while (on_it < THREADS)
		pause_ms(1);
	ready();
	for (int i = 0; i < THREADS; i++)
		must(!pthread_join(threads[i], NULL));
	check(returned == THREADS, "%d threads have returned", returned);
}
