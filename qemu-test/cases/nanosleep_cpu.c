/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "clock.h"
#include <pthread.h>

CASE(.what = "sleeps by the clock of CPU time go on with what was left of it");

static struct timespec left;
static int long_error, short_error = -1;

static void nothing(int signal)
{
	(void)signal;
}

static void *for_long(void *arg)
{
	struct timespec t = { 1000, 0 };

	long_error = clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, 0, &t, &left);
	return arg;
}

static void *for_a_moment(void *arg)
{
	struct timespec t = { 0, 400000000 }, rest;

	__atomic_store_n(&short_error, clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, 0, &t, &rest), __ATOMIC_SEQ_CST);
	return arg;
}

static void use(int64_t time)
{
	int64_t until = clock_now(CLOCK_PROCESS_CPUTIME_ID) + time;

	while (clock_now(CLOCK_PROCESS_CPUTIME_ID) < until)
		;
}

static void run(void)
{
	struct sigaction act = { .sa_handler = nothing };
	pthread_t threads[2];

	must(!sigaction(SIGUSR1, &act, NULL));
	must(!pthread_create(&threads[0], NULL, for_long, NULL));
	must(!pthread_create(&threads[1], NULL, for_a_moment, NULL));
	await_threads_in(SYS_clock_nanosleep);
	use(SECOND / 5);
	ready();
	check(short_error == -1, "it has ended: %s", strerror(short_error));
	/* It ends if this is enough. */
	while (__atomic_load_n(&short_error, __ATOMIC_SEQ_CST) == -1)
		use(SECOND / 100);
	check(short_error == 0, "%s", strerror(short_error));
	must(!pthread_kill(threads[0], SIGUSR1));
	for (int i = 0; i < 2; i++)
		must(!pthread_join(threads[i], NULL));
	check(long_error == EINTR && left.tv_sec < 1000 && left.tv_sec > 900, "%s, %ld.%09ld s are left",
	      strerror(long_error), left.tv_sec, left.tv_nsec);
}
