/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

CASE(.what = "sleeps are not cut short: no EINTR, and those with a limit end");

struct sleeper {
	pthread_t thread;
	clockid_t clock;
	bool raw;
	volatile bool done;
	int error;
	long slept_ms;
};

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void *asleep(void *arg)
{
	struct sleeper *self = arg;
	struct timespec t = { 0, 700 * 1000000 }, left = { 0 };
	long start = now_ms();

	if (self->raw)
		self->error = syscall(SYS_nanosleep, &t, &left) ? errno : 0;
	else
		self->error = clock_nanosleep(self->clock, 0, &t, &left);
	self->slept_ms = now_ms() - start;
	self->done = true;
	return NULL;
}

static void run(void)
{
	static struct sleeper sleepers[] = {
		{ .raw = true },
		{ .clock = CLOCK_MONOTONIC },
		{ .clock = CLOCK_REALTIME },
		{ .clock = CLOCK_BOOTTIME },
	};

	for (int i = 0; i < 4; i++)
		must(!pthread_create(&sleepers[i].thread, NULL, asleep, &sleepers[i]));
	await_threads_in(SYS_nanosleep, SYS_clock_nanosleep);
	ready();
	for (int i = 0; i < 4; i++) {
		pthread_join(sleepers[i].thread, NULL);
		check(sleepers[i].done && sleepers[i].error == 0, "sleeper %d: %s", i,
		      strerror(sleepers[i].error));
		check(sleepers[i].slept_ms >= 700, "sleeper %d slept %ld ms", i, sleepers[i].slept_ms);
	}
}
