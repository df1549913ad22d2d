/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

CASE(.what = "POSIX timers keep id, clock, signal and value, interval and the time that was left");

static volatile sig_atomic_t rings;
static volatile int value;

static void on_ring(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	value = info->si_value.sival_int;
	rings++;
}

/* The kernel's own call: glibc hands out ids of its own. */
static int create(clockid_t clock, struct sigevent *event)
{
	int id = -1;

	must(!syscall(SYS_timer_create, clock, event, &id));
	return id;
}

static struct itimerspec get(int id)
{
	struct itimerspec now = { 0 };

	check(!syscall(SYS_timer_gettime, id, &now), "timer %d: %s", id, strerror(errno));
	return now;
}

static void run(void)
{
	struct sigaction act = { .sa_sigaction = on_ring, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN,
				  .sigev_value.sival_int = 77 };
	struct sigevent none = { .sigev_notify = SIGEV_NONE };
	struct sigevent thread = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 1 };
	struct itimerspec often = { { 0, 20000000 }, { 0, 20000000 } };
	struct itimerspec once = { { 0, 0 }, { 3600, 0 } };
	struct itimerspec cpu = { { 5, 500 }, { 1800, 0 } };
	struct itimerspec now;
	int gap, ringing, off, late, used;

	thread._sigev_un._tid = syscall(SYS_gettid);
	must(!sigaction(SIGRTMIN, &act, NULL));
	must(!sigaction(SIGRTMIN + 1, &act, NULL));
	gap = create(CLOCK_MONOTONIC, &none);
	ringing = create(CLOCK_MONOTONIC, &event);
	off = create(CLOCK_REALTIME, &none);
	late = create(CLOCK_BOOTTIME, &thread);
	used = create(CLOCK_PROCESS_CPUTIME_ID, &none);
	must(!syscall(SYS_timer_delete, gap));
	must(!syscall(SYS_timer_settime, ringing, 0, &often, NULL));
	must(!syscall(SYS_timer_settime, late, 0, &once, NULL));
	must(!syscall(SYS_timer_settime, used, 0, &cpu, NULL));
	ready();

	check(syscall(SYS_timer_gettime, gap, &now) < 0 && errno == EINVAL, "timer %d is back", gap);
	now = get(off);
	check(!now.it_value.tv_sec && !now.it_value.tv_nsec, "timer %d is on", off);
	now = get(late);
	check(now.it_value.tv_sec > 3000 && now.it_value.tv_sec <= 3600 && !now.it_interval.tv_sec,
	      "%ld s left", now.it_value.tv_sec);
	now = get(used);
	check(now.it_value.tv_sec > 1700 && now.it_value.tv_sec <= 1800, "%ld s left", now.it_value.tv_sec);
	check(now.it_interval.tv_sec == 5 && now.it_interval.tv_nsec == 500, "interval");
	now = get(ringing);
	check(now.it_interval.tv_nsec == 20000000, "interval %ld", now.it_interval.tv_nsec);
	for (int seen = rings; rings < seen + 2; )
		pause_ms(5);
	check(value == 77, "value %d", value);

	/* The thread that is told is told. */
	once.it_value = (struct timespec){ 0, 1 };
	rings = 0;
	must(!syscall(SYS_timer_delete, ringing));
	must(!syscall(SYS_timer_settime, late, 0, &once, NULL));
	while (!rings)
		pause_ms(1);
}
