/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "clock.h"
#include <pthread.h>
#include <sys/ptrace.h>

/*
 * The signal of a timer that waits is still the timer's: it comes in its place in
 * the queue, once, and the timer goes on from it. Intervals are hours, so that
 * nothing else comes meanwhile.
 */
CASE(.what = "POSIX timers whose signals wait, or that have overrun, are what they were");

#define HOUR (3600 * SECOND)

static int create(clockid_t clock, int signal, int value, pid_t thread)
{
	struct sigevent event = { .sigev_notify = thread ? SIGEV_THREAD_ID : SIGEV_SIGNAL, .sigev_signo = signal,
				  .sigev_value.sival_int = value };
	int id = -1;

	event._sigev_un._tid = thread;
	must(!syscall(SYS_timer_create, clock, &event, &id));
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

static int64_t left(int id)
{
	struct itimerspec now = { 0 };

	check(!syscall(SYS_timer_gettime, id, &now), "timer %d: %s", id, strerror(errno));
	return now.it_value.tv_sec * SECOND + now.it_value.tv_nsec;
}

static bool is_pending(int signal)
{
	sigset_t set;

	must(!sigpending(&set));
	return sigismember(&set, signal);
}

/* Whether the signal of a timer is in a queue of this thread, as its tracer is told (PTRACE_PEEKSIGINFO). */
static bool tracer_finds(pid_t thread, unsigned int queue, int id)
{
	struct __ptrace_peeksiginfo_args first = { .flags = queue, .nr = 8 };
	siginfo_t found[8];
	int status;
	long count;

	must(!ptrace(PTRACE_SEIZE, thread, 0, 0) && !ptrace(PTRACE_INTERRUPT, thread, 0, 0));
	must(waitpid(thread, &status, __WALL) == thread && WIFSTOPPED(status));
	count = ptrace(PTRACE_PEEKSIGINFO, thread, &first, found);
	must(count >= 0);
	for (long i = 0; i < count; i++)
		if (found[i].si_code == SI_TIMER && found[i].si_timerid == id)
			return true;
	return false;
}

/*
 * The timer expires, and its signal waits, before this returns. That it waits behind another of the same number a
 * tracer alone is told, and to ask for the time that is left would let the timer go on.
 */
static void expire(int id, int64_t interval, pid_t thread)
{
	int status;

	set(id, 0, 1, interval);
	do {
		pid_t process = getpid(), tracer = fork();

		must(tracer >= 0);
		if (!tracer)
			_exit(!(thread ? tracer_finds(thread, 0, id) :
				tracer_finds(process, PTRACE_PEEKSIGINFO_SHARED, id)));
		must(waitpid(tracer, &status, 0) == tracer && WIFEXITED(status) && WEXITSTATUS(status) < 2);
	} while (status);
}

/* The next signal of these that waits; its number, or -1. */
static int take(const sigset_t *set, siginfo_t *info)
{
	struct timespec none = { 0, 0 };

	return syscall(SYS_rt_sigtimedwait, set, info, &none, 8);
}

static int of_thread;
static pid_t tid;
static sigset_t signals;

static void *other(void *arg)
{
	siginfo_t info;
	sigset_t own;
	int signal;

	/* The others are for everybody. */
	sigemptyset(&own);
	sigaddset(&own, SIGRTMIN + 4);
	__atomic_store_n(&tid, gettid(), __ATOMIC_SEQ_CST);
	await_file("go");
	signal = take(&own, &info);
	check(signal == SIGRTMIN + 4 && info.si_code == SI_TIMER && info.si_timerid == of_thread &&
	      info.si_value.sival_int == 44, "thread: signal %d, code %d, timer %d", signal, info.si_code,
	      info.si_timerid);
	check(take(&own, &info) == -1 && errno == EAGAIN, "thread: signal %d as well", info.si_signo);
	return arg;
}

static void run(void)
{
	int beats, once, overrun, got;
	pthread_t thread;
	siginfo_t info;

	sigemptyset(&signals);
	for (int i = 0; i < 6; i++)
		sigaddset(&signals, SIGRTMIN + i);
	must(!pthread_sigmask(SIG_BLOCK, &signals, NULL));
	must(!pthread_create(&thread, NULL, other, NULL));
	while (!__atomic_load_n(&tid, __ATOMIC_SEQ_CST))
		pause_ms(1);

	/* It missed seven beats until it was taken, and the next is far away. */
	overrun = create(CLOCK_REALTIME, SIGRTMIN + 5, 55, 0);
	set(overrun, TIMER_ABSTIME, clock_now(CLOCK_REALTIME) - 7 * HOUR - SECOND, HOUR);
	while (!is_pending(SIGRTMIN + 5))
		pause_ms(1);
	must(take(&signals, &info) == SIGRTMIN + 5 && info.si_overrun == 7);

	beats = create(CLOCK_MONOTONIC, SIGRTMIN + 1, 11, 0);
	once = create(CLOCK_MONOTONIC, SIGRTMIN + 2, 22, 0);
	of_thread = create(CLOCK_MONOTONIC, SIGRTMIN + 4, 44, tid);
	must(!sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = 1 }));
	expire(beats, HOUR, 0);
	must(!sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = 2 }));
	expire(once, 0, 0);
	expire(of_thread, HOUR, tid);
	ready();
	check(syscall(SYS_timer_getoverrun, overrun) == 7, "overrun %ld", syscall(SYS_timer_getoverrun, overrun));
	check(left(overrun) < HOUR && left(overrun) > HOUR / 2, "%lld to the next of one that overran", (long long)left(overrun));

	must(!pthread_join(thread, NULL));
	got = take(&signals, &info);
	check(got == SIGRTMIN + 1 && info.si_code == SI_QUEUE && info.si_value.sival_int == 1, "signal %d, code %d", got,
	      info.si_code);
	got = take(&signals, &info);
	check(got == SIGRTMIN + 1 && info.si_code == SI_TIMER && info.si_timerid == beats && !info.si_overrun &&
	      info.si_value.sival_int == 11, "signal %d, code %d, timer %d, overrun %d", got, info.si_code,
	      info.si_timerid, info.si_overrun);
	got = take(&signals, &info);
	check(got == SIGRTMIN + 1 && info.si_code == SI_QUEUE && info.si_value.sival_int == 2, "signal %d, code %d", got,
	      info.si_code);
	got = take(&signals, &info);
	check(got == SIGRTMIN + 2 && info.si_code == SI_TIMER && info.si_timerid == once, "signal %d, code %d, timer %d",
	      got, info.si_code, info.si_timerid);
	check(take(&signals, &info) == -1 && errno == EAGAIN, "signal %d as well", info.si_signo);
	check(left(beats) > HOUR / 2 && left(beats) < HOUR, "%lld to the next beat", (long long)left(beats));
	check(left(of_thread) > HOUR / 2 && left(of_thread) < HOUR, "%lld to the next of the thread",
	      (long long)left(of_thread));
	check(!left(once), "one that expires once is on: %lld", (long long)left(once));
}
