/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a program goes on with its pid and its memory");

static volatile unsigned long count = 41;

static void run(void)
{
	volatile unsigned long local = 1234567;
	pid_t pid = getpid();

	ready();
	count++;
	check(count == 42, "count is %lu", count);
	check(local == 1234567, "local is %lu", local);
	check(getpid() == pid && syscall(SYS_gettid) == pid, "pid %d is %d", pid, getpid());
}
