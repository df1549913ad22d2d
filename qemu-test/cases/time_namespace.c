/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "clock.h"
#include <sys/timerfd.h>

CASE(.what = "a tree in a time namespace is in one with the same offsets again");

static int enter(void)
{
	static const char offsets[] = "monotonic 100000 5\nboottime 2000000 7\n";
	int fd;

	must(!unshare(CLONE_NEWTIME));
	must((fd = open("/proc/self/timens_offsets", O_WRONLY)) >= 0);
	must(write(fd, offsets, sizeof(offsets) - 1) == sizeof(offsets) - 1);
	close(fd);
	must((fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC)) >= 0);
	must(!setns(fd, CLONE_NEWTIME));
	return fd;
}

static void offsets(char *text, size_t size)
{
	int fd = open("/proc/self/timens_offsets", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, size - 1);

	must(n > 0);
	text[n] = 0;
	close(fd);
}

/* Whether this process sees the clocks as they were. */
static int look(const char *who, int64_t moment, int timer)
{
	struct itimerspec left;
	int64_t now;
	char text[256];

	offsets(text, sizeof(text));
	check(strstr(text, " 100000 ") && strstr(text, " 2000000 "), "%s: offsets: %s", who, text);
	check_clock(CLOCK_MONOTONIC, who);
	check_clock(CLOCK_BOOTTIME, who);
	must(!timerfd_gettime(timer, &left));
	now = clock_now(CLOCK_MONOTONIC);
	check(llabs(left.it_value.tv_sec * SECOND + left.it_value.tv_nsec + now - moment) < SECOND,
	      "%s: the timer runs for another %ld s", who, left.it_value.tv_sec);
	return case_failures;
}

static void run(void)
{
	struct itimerspec absolute = { 0 };
	int64_t before, moment, behind[2];
	int timer, status;
	pid_t child;

	close(enter());
	timer = timerfd_create(CLOCK_MONOTONIC, 0);
	must(timer >= 0);
	before = clock_now(CLOCK_MONOTONIC);
	must(before > 100000 * SECOND);
	behind[0] = clock_behind(CLOCK_MONOTONIC);
	behind[1] = clock_behind(CLOCK_BOOTTIME);
	absolute.it_value.tv_sec = before / SECOND + 3600;
	moment = absolute.it_value.tv_sec * SECOND;
	must(!timerfd_settime(timer, TFD_TIMER_ABSTIME, &absolute, NULL));
	must((child = fork()) >= 0);
	if (!child) {
		await_file("go");
		_exit(look("child", moment, timer));
	}
	ready();
	look("parent", moment, timer);
	check(clock_now(CLOCK_MONOTONIC) >= before, "the clock went back");
	/* The offsets are the same, so the time in between has passed. */
	check(llabs(clock_behind(CLOCK_MONOTONIC) - behind[0]) < SECOND, "the monotonic clock was moved");
	check(llabs(clock_behind(CLOCK_BOOTTIME) - behind[1]) < SECOND, "that since boot was moved");
	check(waitpid(child, &status, 0) == child && !status, "child: %x", status);
}
