/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* A process with a child and a thread that all have the start times after ready() that they had before. */
#ifndef STARTTIME_H
#define STARTTIME_H

#include "case.h"
#include <pthread.h>

/* Field 22 of /proc/PID/task/TID/stat. */
static unsigned long long started(pid_t pid, pid_t tid)
{
	char line[1024], *field;

	must(line_of(pid, tid, "stat", line, sizeof(line)));
	field = strrchr(line, ')');
	for (int i = 2; i < 22; i++)
		field = strchr(field + 1, ' ');
	return strtoull(field, NULL, 10);
}

static pid_t thread_id;
static bool looked;

static void *stay(void *unused)
{
	__atomic_store_n(&thread_id, gettid(), __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&looked, __ATOMIC_SEQ_CST))
		pause_ms(1);
	return unused;
}

/* Ticks since the machine was booted: start times are told in these. */
static inline int64_t ticks_since_boot(void)
{
	struct timespec now;
	long hz = sysconf(_SC_CLK_TCK);

	must(hz > 0 && !clock_gettime(CLOCK_BOOTTIME, &now));
	return now.tv_sec * hz + now.tv_nsec / (1000000000 / hz);
}

/* Waits until another tick has begun than the one in which the last task was made. */
static inline void await_next_tick(void)
{
	int64_t first = ticks_since_boot();

	while (ticks_since_boot() == first)
		pause_ms(1);
}

static inline void keep_start_times(void)
{
	unsigned long long own, of_child, of_thread;
	pid_t pid = getpid(), child;
	pthread_t thread;

	must((child = fork()) >= 0);
	if (!child) {
		await_file("go");
		_exit(0);
	}
	/* So that the thread begins at another tick than the process, and "now" is yet another. */
	await_next_tick();
	must(!pthread_create(&thread, NULL, stay, NULL));
	while (!__atomic_load_n(&thread_id, __ATOMIC_SEQ_CST))
		pause_ms(1);
	own = started(pid, pid);
	of_child = started(child, child);
	of_thread = started(pid, thread_id);
	must(of_thread > own);
	await_next_tick();
	ready();
	check(started(pid, pid) == own, "%llu, was %llu", started(pid, pid), own);
	check(started(child, child) == of_child, "child: %llu, was %llu", started(child, child), of_child);
	check(started(pid, thread_id) == of_thread, "thread: %llu, was %llu", started(pid, thread_id), of_thread);
	__atomic_store_n(&looked, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	wait(NULL);
}

#endif
