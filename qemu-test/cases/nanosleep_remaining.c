/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

/*
 * What is left is written to user memory when a signal ends the sleep: a clock
 * that can be read without waiting for it.
 */
CASE(.what = "an interrupted sleep goes on with the time that was left, not with all of it");

static struct timespec left;
static int result, error;

static void nothing(int signal)
{
	(void)signal;
}

static void *asleep(void *arg)
{
	struct timespec t = { 3600, 0 };

	(void)arg;
	result = syscall(SYS_nanosleep, &t, &left);
	error = errno;
	return NULL;
}

static void run(void)
{
	struct sigaction act = { .sa_handler = nothing };
	pthread_t thread;

	must(!sigaction(SIGUSR1, &act, NULL));
	must(!pthread_create(&thread, NULL, asleep, NULL));
	await_threads_in(SYS_nanosleep);
	/* Time that passes is what the case is about: this much of the hour is gone before the dump. */
	pause_ms(1500);
	ready();
	must(!pthread_kill(thread, SIGUSR1));
	must(!pthread_join(thread, NULL));
	check(result == -1 && error == EINTR, "result %d, %s", result, strerror(error));
	check(left.tv_sec < 3599 && left.tv_sec > 3000, "%ld.%09ld s are left", left.tv_sec, left.tv_nsec);
}
