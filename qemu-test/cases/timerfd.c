/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <poll.h>
#include <sys/timerfd.h>

CASE(.what = "timerfds keep their time, their interval and what was not read");

static void run(void)
{
	struct itimerspec hour = { { 60, 0 }, { 3600, 0 } }, tick = { { 0, 0 }, { 0, 1 } }, now;
	struct itimerspec moment = { { 0, 0 }, { 0, 0 } };
	int relative = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	int expired = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	int absolute = timerfd_create(CLOCK_REALTIME, 0), idle = timerfd_create(CLOCK_BOOTTIME, 0);
	struct pollfd polled = { .fd = expired, .events = POLLIN };
	struct timespec wall;
	uint64_t n;

	must(relative >= 0 && expired >= 0 && absolute >= 0 && idle >= 0);
	must(timerfd_settime(relative, 0, &hour, NULL) == 0);
	must(timerfd_settime(expired, 0, &tick, NULL) == 0 && poll(&polled, 1, -1) == 1);
	clock_gettime(CLOCK_REALTIME, &wall);
	moment.it_value.tv_sec = wall.tv_sec + 7200;
	must(timerfd_settime(absolute, TFD_TIMER_ABSTIME, &moment, NULL) == 0);

	ready();
	check(timerfd_gettime(relative, &now) == 0 && now.it_interval.tv_sec == 60, "the interval");
	check(now.it_value.tv_sec > 0 && now.it_value.tv_sec < 3600, "%ld s are left", now.it_value.tv_sec);
	check(fcntl(relative, F_GETFD) == FD_CLOEXEC, "close-on-exec is gone");
	check(read(expired, &n, 8) == 8 && n == 1, "%llu expirations", (unsigned long long)n);
	check(read(expired, &n, 8) == -1 && errno == EAGAIN, "it expired again");
	check(timerfd_gettime(absolute, &now) == 0 && now.it_value.tv_sec > 0 && now.it_value.tv_sec <= 7200,
	      "%ld s are left", now.it_value.tv_sec);
	check(timerfd_gettime(idle, &now) == 0 && now.it_value.tv_sec == 0 && now.it_value.tv_nsec == 0,
	      "the idle one is armed");
}
