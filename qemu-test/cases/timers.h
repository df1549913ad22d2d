/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * How long the kernel will still let threads wait: /proc/timer_list shows the
 * timers of all that wait with a limit. A case gives each wait a limit that
 * nobody else has, and knows it by that.
 */
#ifndef TIMERS_H
#define TIMERS_H

#include "case.h"

/* Limits are that many seconds apart at least. */
#define LIMITS_APART 120L

/* A limit of its own for each wait of each process, in seconds: an int of milliseconds holds the first nine. */
static inline long limit_of(int which)
{
	return 1000000 + which * 1000 * LIMITS_APART + getpid() % 1000 * LIMITS_APART;
}

/* How many waits there are that began with this limit, and what is left of one of them, in nanoseconds. */
static inline int waits_with_limit(long limit, int64_t *left)
{
	char line[512], function[64] = "", timer[64] = "", counted[64] = "";
	FILE *file = fopen("/proc/timer_list", "re");
	int count = 0;

	must(file);
	while (fgets(line, sizeof(line), file)) {
		long long in;
		char *place;

		if (strchr(line, '<')) {
			if (sscanf(line, " #%*d: <%63[^>]>, %63[^,]", timer, function) != 2)
				function[0] = 0;
			continue;
		}
		place = strstr(line, "[in ");
		if (!place || sscanf(place, "[in %lld", &in) != 1 || strcmp(function, "hrtimer_wakeup"))
			continue;
		if (in > (limit - LIMITS_APART) * 1000000000 && in <= limit * 1000000000) {
			*left = in;
			/* The kernel shows one twice if another begins meanwhile that comes before it. */
			count += !!strcmp(timer, counted);
			strcpy(counted, timer);
		}
	}
	fclose(file);
	return count;
}

/* Waits until a thread waits with this limit. */
static inline void await_wait(long limit)
{
	int64_t left;

	while (waits_with_limit(limit, &left) != 1)
		pause_ms(2);
}

/* A wait that began `ms` milliseconds before goes on with what was left. */
static inline void check_wait(const char *name, long limit, long ms)
{
	int64_t left = 0;
	int count;

	/* It may be on its way into the kernel. */
	while (!(count = waits_with_limit(limit, &left)))
		pause_ms(2);
	check(count == 1, "%s: %d waits", name, count);
	check(left <= limit * 1000000000 - ms * 1000000, "%s: %.3f s of %ld s are left", name, left / 1e9, limit);
}

#endif
