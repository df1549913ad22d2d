/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "seccomp.h"

#include <pthread.h>

CASE(.what = "threads keep filters of their own, and those that they share they can add to together");

/*
 * The main thread has filter A. `lower` has A and B, and has made `lowest`, which
 * has A, B and C. `free` has none, and is the oldest. So `lowest` can give its
 * filters to all the others, and nobody else can: not main, since B and C are
 * not among its own.
 */
enum { MAIN, FREE, LOWER, LOWEST, THREADS };
static pthread_barrier_t made, restored, seen, synced;
static volatile pid_t tid[THREADS];
static volatile bool done;

static const int denied[THREADS][4] = {
	[MAIN] = { 101, 0, 0, 0 },
	[FREE] = { 0, 0, 0, 0 },
	[LOWER] = { 101, 102, 0, 0 },
	[LOWEST] = { 101, 102, 103, 0 },
};

static void has(int who, const int *want)
{
	const int calls[4] = { SYS_getppid, SYS_getuid, SYS_getgid, SYS_getpgrp };

	for (int i = 0; i < 4; i++)
		check(error_of(calls[i]) == want[i], "thread %d, call %d: %s", who, i, strerror(errno));
}

static void after(int who)
{
	static const int all[4] = { 101, 102, 103, 104 };

	pthread_barrier_wait(&restored);
	has(who, denied[who]);
	pthread_barrier_wait(&seen);
	if (who == MAIN)
		check(deny(SECCOMP_FILTER_FLAG_TSYNC, SYS_getpgrp, 105) > 0, "main could synchronize");
	if (who == LOWEST) {
		while (!done)
			pause_ms(1);
		check(deny(SECCOMP_FILTER_FLAG_TSYNC, SYS_getpgrp, 104) == 0, "the lowest cannot synchronize: %s",
		      strerror(errno));
	}
	if (who == MAIN)
		done = true;
	pthread_barrier_wait(&synced);
	has(who, all);
}

static void *lowest(void *arg)
{
	tid[LOWEST] = gettid();
	must(!deny(0, SYS_getgid, 103));
	pthread_barrier_wait(&made);
	after(LOWEST);
	return arg;
}

static void *lower(void *arg)
{
	pthread_t t;

	tid[LOWER] = gettid();
	must(!deny(0, SYS_getuid, 102));
	must(!pthread_create(&t, NULL, lowest, NULL));
	after(LOWER);
	must(!pthread_join(t, NULL));
	return arg;
}

static void *unfiltered(void *arg)
{
	tid[FREE] = gettid();
	after(FREE);
	return arg;
}

static void run(void)
{
	pthread_t threads[2];

	must(!pthread_barrier_init(&made, NULL, 2) && !pthread_barrier_init(&restored, NULL, THREADS));
	must(!pthread_barrier_init(&seen, NULL, THREADS) && !pthread_barrier_init(&synced, NULL, THREADS));
	must(!pthread_create(&threads[0], NULL, unfiltered, NULL));
	must(!deny(0, SYS_getppid, 101));
	must(!pthread_create(&threads[1], NULL, lower, NULL));
	pthread_barrier_wait(&made);
	must(deny(SECCOMP_FILTER_FLAG_TSYNC, SYS_getpgrp, 105) > 0);
	ready();
	after(MAIN);
	for (int i = 0; i < 2; i++)
		must(!pthread_join(threads[i], NULL));
}
