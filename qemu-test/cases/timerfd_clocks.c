/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "clock.h"
#include <poll.h>
#include <sys/timerfd.h>

CASE(.what = "timerfds of all clocks keep their moment or their time, and periodic ones go on that nobody has read");

static const clockid_t clocks[] = {
	CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM,
};
enum { CLOCKS = sizeof(clocks) / sizeof(clocks[0]) };

/* The clock by which one is measured that may wake the machine; that one can be read on some machines only. */
static clockid_t base_of(clockid_t clock)
{
	if (clock == CLOCK_REALTIME_ALARM)
		return CLOCK_REALTIME;
	return clock == CLOCK_BOOTTIME_ALARM ? CLOCK_BOOTTIME : clock;
}

static int64_t nanoseconds(struct timespec t)
{
	return t.tv_sec * SECOND + t.tv_nsec;
}

/* What /proc tells of a timer, which goes on as if nobody had looked; unlike timerfd_gettime(). */
static const char *told_of(int timer)
{
	static char text[512];
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", timer);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	must(n > 0);
	text[n] = 0;
	close(fd);
	return text;
}

/* The kernel notes that a timer has expired once, and counts the further beats when it is read (fs/timerfd.c). */
static void await_beats(int timer, int64_t until)
{
	while (strstr(told_of(timer), "ticks: 0\n") || clock_now(CLOCK_MONOTONIC) < until)
		pause_ms(1);
}

static void run(void)
{
	int relative[CLOCKS], absolute[CLOCKS], cancelled, periodic, fast;
	int64_t moment[CLOCKS], earliest, latest, told;
	struct itimerspec now, times = { 0 }, beat = { { 0, 50000000 }, { 0, 50000000 } };
	struct itimerspec tiny = { { 0, 1000 }, { 0, 1000 } };
	struct pollfd polled;
	uint64_t n, more;

	for (int i = 0; i < CLOCKS; i++) {
		relative[i] = timerfd_create(clocks[i], TFD_CLOEXEC);
		absolute[i] = timerfd_create(clocks[i], TFD_NONBLOCK);
		must(relative[i] >= 0 && absolute[i] >= 0);
		times.it_value = (struct timespec){ 1000 + i, 0 };
		times.it_interval = (struct timespec){ 7, i };
		must(!timerfd_settime(relative[i], 0, &times, NULL));
		moment[i] = (clock_now(base_of(clocks[i])) / SECOND + 5000 + i) * SECOND;
		times.it_value = (struct timespec){ moment[i] / SECOND, 0 };
		must(!timerfd_settime(absolute[i], TFD_TIMER_ABSTIME, &times, NULL));
	}
	cancelled = timerfd_create(CLOCK_REALTIME, 0);
	must(cancelled >= 0);
	times.it_value = (struct timespec){ clock_now(CLOCK_REALTIME) / SECOND + 9000, 0 };
	must(!timerfd_settime(cancelled, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &times, NULL));
	periodic = timerfd_create(CLOCK_MONOTONIC, 0);
	fast = timerfd_create(CLOCK_MONOTONIC, 0);
	must(periodic >= 0 && fast >= 0);
	must(!timerfd_settime(periodic, 0, &beat, NULL) && !timerfd_settime(fast, 0, &tiny, NULL));
	/* At least four beats that nobody reads. */
	await_beats(periodic, clock_now(CLOCK_MONOTONIC) + 4 * nanoseconds(beat.it_interval));
	await_beats(fast, 0);
	ready();
	for (int i = 0; i < CLOCKS; i++) {
		must(!timerfd_gettime(relative[i], &now));
		check(now.it_value.tv_sec > 500 && now.it_value.tv_sec < 1000 + i, "clock %d: %ld s are left", clocks[i],
		      now.it_value.tv_sec);
		check(now.it_interval.tv_sec == 7 && now.it_interval.tv_nsec == i, "clock %d: interval", clocks[i]);
		latest = moment[i] - clock_now(base_of(clocks[i]));
		must(!timerfd_gettime(absolute[i], &now));
		earliest = moment[i] - clock_now(base_of(clocks[i]));
		told = nanoseconds(now.it_value);
		check(told > earliest - SECOND && told < latest + SECOND, "clock %d: %lld ns to its moment, and not %lld to %lld",
		      clocks[i], (long long)told, (long long)earliest, (long long)latest);
	}
	check(strstr(told_of(cancelled), "settime flags: 03\n"), "%s", told_of(cancelled));

	check(read(periodic, &n, 8) == 8 && n >= 4, "%llu beats", (unsigned long long)n);
	check(read(periodic, &more, 8) == 8 && more >= 1, "it does not beat any more");
	polled = (struct pollfd){ .fd = fast, .events = POLLIN };
	check(poll(&polled, 1, 0) == 1 && read(fast, &n, 8) == 8 && n > 1000, "%llu fast beats", (unsigned long long)n);
	check(poll(&polled, 1, PATIENCE_MS) == 1, "the fast one does not beat any more");
}
