/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Clocks in nanoseconds, as the C library reads them and as the kernel tells them. */
#ifndef CLOCK_H
#define CLOCK_H

#include "case.h"

#define SECOND 1000000000LL

/* Mostly without the kernel: from the data that the vDSO has. */
static inline int64_t clock_now(clockid_t clock)
{
	struct timespec t;

	must(!clock_gettime(clock, &t));
	return t.tv_sec * SECOND + t.tv_nsec;
}

static inline int64_t clock_of_kernel(clockid_t clock)
{
	struct timespec t;

	must(!syscall(SYS_clock_gettime, clock, &t));
	return t.tv_sec * SECOND + t.tv_nsec;
}

/* Both tell the same. */
static inline void check_clock(clockid_t clock, const char *name)
{
	int64_t before = clock_of_kernel(clock), now = clock_now(clock), after = clock_of_kernel(clock);

	check(before <= now && now <= after, "%s: %lld, then %lld, then %lld", name, (long long)before, (long long)now,
	      (long long)after);
}

/*
 * How far the monotonic clock is behind that of the day. A clock that goes on as
 * nothing had happened is further behind after a restore.
 */
static inline int64_t clock_behind(clockid_t clock)
{
	int64_t behind = 0, shortest = INT64_MAX;

	/* One look may be interrupted, for as long as the machine likes; of many the shortest is not. */
	for (int i = 0; i < 1000; i++) {
		int64_t before = clock_now(clock), day = clock_now(CLOCK_REALTIME), took = clock_now(clock) - before;

		if (took < shortest) {
			shortest = took;
			behind = day - (before + took / 2);
		}
	}
	return behind;
}

/* The time namespace of this process; room for 64 bytes. */
static inline const char *time_namespace(char *room)
{
	ssize_t n = readlink("/proc/self/ns/time", room, 63);

	must(n > 0);
	room[n] = 0;
	return room;
}

#endif
