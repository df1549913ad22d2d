/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "clock.h"
#include <pthread.h>

CASE(.what = "POSIX timers of all clocks keep what was left, or their moment, and their ids with all gaps");

/* The kernel's own calls: glibc hands out ids of its own. */
static int create(clockid_t clock, struct sigevent *event)
{
	int id = -1;

	must(!syscall(SYS_timer_create, clock, event, &id));
	return id;
}

static void set(int id, int flags, int64_t value, int64_t interval)
{
	struct itimerspec times = {
		.it_value = { value / SECOND, value % SECOND },
		.it_interval = { interval / SECOND, interval % SECOND },
	};

	must(!syscall(SYS_timer_settime, id, flags, &times, NULL));
}

static int64_t left(int id, int64_t *interval)
{
	struct itimerspec now = { 0 };

	check(!syscall(SYS_timer_gettime, id, &now), "timer %d: %s", id, strerror(errno));
	if (interval)
		*interval = now.it_interval.tv_sec * SECOND + now.it_interval.tv_nsec;
	return now.it_value.tv_sec * SECOND + now.it_value.tv_nsec;
}

/* How far from its moment a timer would expire, as far as can be told by two calls. */
static int64_t misses(int id, clockid_t clock, int64_t moment)
{
	int64_t best = INT64_MAX;

	for (int i = 0; i < 100; i++) {
		int64_t miss = llabs(left(id, NULL) + clock_now(clock) - moment);

		if (miss < best)
			best = miss;
	}
	return best;
}

static const clockid_t clocks[] = {
	CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI, CLOCK_PROCESS_CPUTIME_ID,
	/* Privileged, and only with a clock that can wake the machine. */
	CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM,
};
enum { CLOCKS = sizeof(clocks) / sizeof(clocks[0]) };

static bool looked;

static void *until_looked(void *arg)
{
	while (!__atomic_load_n(&looked, __ATOMIC_SEQ_CST))
		pause_ms(1);
	return arg;
}

static void run(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };
	struct sigevent none = { .sigev_notify = SIGEV_NONE };
	int ids[CLOCKS], of_thread, of_child, by_default, silent, absolute, last, gaps[40], kept;
	int64_t moment, interval;
	clockid_t clock;
	pthread_t thread;
	pid_t child;
	int status;

	must(!pthread_create(&thread, NULL, until_looked, NULL));
	must((child = fork()) >= 0);
	if (!child) {
		pause();
		_exit(1);
	}
	for (int i = 0; i < CLOCKS; i++) {
		ids[i] = -1;
		if (syscall(SYS_timer_create, clocks[i], &event, &ids[i])) {
			must(i >= 5);
			ids[i] = -1;
			continue;
		}
		set(ids[i], 0, (1000 + i) * SECOND, 77 * SECOND + i);
	}
	must(!pthread_getcpuclockid(thread, &clock));
	of_thread = create(clock, &event);
	set(of_thread, 0, 2000 * SECOND, 0);
	must(!clock_getcpuclockid(child, &clock));
	of_child = create(clock, &event);
	set(of_child, 0, 2100 * SECOND, 5);
	by_default = create(CLOCK_MONOTONIC, NULL);
	silent = create(CLOCK_MONOTONIC, &none);
	set(silent, 0, 2200 * SECOND, 10);
	absolute = create(CLOCK_REALTIME, &event);
	moment = clock_now(CLOCK_REALTIME) + 3000 * SECOND;
	set(absolute, TIMER_ABSTIME, moment, 88 * SECOND);
	for (int i = 0; i < 40; i++)
		gaps[i] = create(CLOCK_MONOTONIC, &none);
	last = create(CLOCK_BOOTTIME, &event);
	set(last, 0, 2300 * SECOND, 0);
	kept = gaps[17];
	for (int i = 0; i < 40; i++)
		must(i == 17 || !syscall(SYS_timer_delete, gaps[i]));
	ready();

	for (int i = 0; i < CLOCKS; i++) {
		if (ids[i] < 0)
			continue;
		check(left(ids[i], &interval) < (1000 + i) * SECOND && left(ids[i], NULL) > 500 * SECOND &&
		      interval == 77 * SECOND + i, "clock %d: %lld left, interval %lld", clocks[i],
		      (long long)left(ids[i], NULL), (long long)interval);
	}
	check(left(of_thread, NULL) <= 2000 * SECOND && left(of_thread, NULL) > 1900 * SECOND, "of a thread: %lld",
	      (long long)left(of_thread, NULL));
	check(left(of_child, &interval) <= 2100 * SECOND && left(of_child, NULL) > 2000 * SECOND && interval == 5,
	      "of a child: %lld", (long long)left(of_child, NULL));
	check(!left(by_default, NULL), "one that was off is on");
	check(left(silent, &interval) < 2200 * SECOND && left(silent, NULL) > 1700 * SECOND && interval == 10,
	      "without a signal: %lld", (long long)left(silent, NULL));
	check(misses(absolute, CLOCK_REALTIME, moment) < 3000000, "it would expire %lld ns from its moment",
	      (long long)misses(absolute, CLOCK_REALTIME, moment));
	check(left(last, NULL) < 2300 * SECOND && left(last, NULL) > 1800 * SECOND, "the last: %lld",
	      (long long)left(last, NULL));
	for (int i = 0; i < 40; i++) {
		struct itimerspec now;
		bool is = !syscall(SYS_timer_gettime, gaps[i], &now);

		check(is == (gaps[i] == kept), "timer %d is %s", gaps[i], is ? "back" : "gone");
	}
	__atomic_store_n(&looked, true, __ATOMIC_SEQ_CST);
	must(!pthread_join(thread, NULL));
	must(!kill(child, SIGKILL));
	check(waitpid(child, &status, 0) == child, "child: %x", status);
}
