/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "clock.h"
#include <pthread.h>
#include <sys/timerfd.h>

CASE(.what = "with --keep-clocks the clocks since boot go on from where they were", .restore = "--keep-clocks");

static int64_t moment;
static volatile bool done;

/* The moment that it sleeps to is one of its own clock. */
static void *sleep_until(void *arg)
{
	struct timespec t = { moment / SECOND, moment % SECOND };

	check(!clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL), "clock_nanosleep");
	check(clock_now(CLOCK_MONOTONIC) >= moment, "it woke too early");
	return arg;
}

static void *watch(void *arg)
{
	int64_t last = 0;

	while (!done) {
		int64_t now = clock_now(CLOCK_MONOTONIC);

		if (now < last) {
			check(now >= last, "the clock went back from %lld to %lld", (long long)last, (long long)now);
			break;
		}
		last = now;
	}
	return arg;
}

static void run(void)
{
	struct itimerspec absolute = { 0 }, left;
	char before[64], after[64];
	int64_t behind[2], then[2], earliest, asked;
	pthread_t sleeper, watcher;
	int timer = timerfd_create(CLOCK_MONOTONIC, 0), status;
	pid_t child;

	must(timer >= 0);
	time_namespace(before);
	moment = clock_now(CLOCK_MONOTONIC) + 300 * 1000000;
	absolute.it_value.tv_sec = clock_now(CLOCK_MONOTONIC) / SECOND + 3600;
	must(!timerfd_settime(timer, TFD_TIMER_ABSTIME, &absolute, NULL));
	must(!pthread_create(&sleeper, NULL, sleep_until, NULL));
	must(!pthread_create(&watcher, NULL, watch, NULL));
	behind[0] = clock_behind(CLOCK_MONOTONIC);
	behind[1] = clock_behind(CLOCK_BOOTTIME);
	ready();
	then[0] = clock_behind(CLOCK_MONOTONIC);
	then[1] = clock_behind(CLOCK_BOOTTIME);
	/* The program that was left running is where it was; offsets are whole ticks of 10 ms. */
	if (strcmp(before, time_namespace(after))) {
		check(then[0] > behind[0] - 1000000, "the monotonic clock: %lld, then %lld", (long long)behind[0],
		      (long long)then[0]);
		check(then[1] > behind[1] - 1000000, "that since boot: %lld, then %lld", (long long)behind[1],
		      (long long)then[1]);
	}
	check_clock(CLOCK_MONOTONIC, "monotonic");
	check_clock(CLOCK_BOOTTIME, "since boot");
	check_clock(CLOCK_REALTIME, "of the day");
	earliest = clock_now(CLOCK_MONOTONIC);
	must(!timerfd_gettime(timer, &left));
	/* It was asked between the two looks at the clock, however far apart these are. */
	asked = (absolute.it_value.tv_sec - left.it_value.tv_sec) * SECOND - left.it_value.tv_nsec;
	check(asked > earliest - SECOND && asked < clock_now(CLOCK_MONOTONIC) + SECOND,
	      "the timer runs for another %ld s", left.it_value.tv_sec);
	/* Children are where their parents are. */
	must((child = fork()) >= 0);
	if (!child) {
		check(!strcmp(after, time_namespace(before)), "a child is in %s, and not in %s", before, after);
		check_clock(CLOCK_MONOTONIC, "monotonic, in a child");
		_exit(case_failures);
	}
	check(waitpid(child, &status, 0) == child && !status, "child: %x", status);
	done = true;
	pthread_join(sleeper, NULL);
	pthread_join(watcher, NULL);
}
