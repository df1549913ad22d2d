/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "timers.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>

/*
 * Whatever a thread waits in, it goes on with the time that was left; a signal
 * then ends the call as it would have, and the program has the limit that it gave.
 */
CASE(.what = "waits go on with the time that was left, in all calls that have a limit");

enum { EPOLL_WAIT, EPOLL_PWAIT, EPOLL_PWAIT2, SIGTIMEDWAIT, POLL, FUTEX, NANOSLEEP, SLEEP_ON_CLOCK, WAITS };

static const char *const names[] = {
	"epoll_wait", "epoll_pwait", "epoll_pwait2", "sigtimedwait", "poll", "futex", "nanosleep", "clock_nanosleep",
};

static pthread_t threads[WAITS];
static bool ended[WAITS];

static void nothing(int signal)
{
	(void)signal;
}

static void *waiter(void *arg)
{
	int which = (int)(intptr_t)arg, epoll = epoll_create1(0), result, error;
	long seconds = limit_of(which);
	struct timespec limit = { seconds, 0 };
	struct epoll_event event;
	uint32_t word = 0;
	sigset_t set;

	must(epoll >= 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	switch (which) {
	case EPOLL_WAIT:
		result = syscall(SYS_epoll_wait, epoll, &event, 1, (int)(seconds * 1000));
		break;
	case EPOLL_PWAIT:
		result = syscall(SYS_epoll_pwait, epoll, &event, 1, (int)(seconds * 1000), &set, 8);
		break;
	case EPOLL_PWAIT2:
		result = syscall(SYS_epoll_pwait2, epoll, &event, 1, &limit, &set, 8);
		break;
	case SIGTIMEDWAIT:
		result = syscall(SYS_rt_sigtimedwait, &set, NULL, &limit, 8);
		break;
	case POLL:
		result = syscall(SYS_poll, NULL, 0, (int)(seconds * 1000));
		break;
	case FUTEX:
		result = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &limit);
		break;
	case NANOSLEEP:
		result = syscall(SYS_nanosleep, &limit, NULL);
		break;
	default:
		result = syscall(SYS_clock_nanosleep, CLOCK_BOOTTIME, 0, &limit, NULL);
	}
	error = errno;
	check(result == -1 && error == EINTR, "%s: %d, %s", names[which], result, strerror(error));
	check(limit.tv_sec == seconds && !limit.tv_nsec, "%s: the limit is %ld.%09ld s now", names[which],
	      limit.tv_sec, limit.tv_nsec);
	__atomic_store_n(&ended[which], true, __ATOMIC_SEQ_CST);
	return NULL;
}

static void run(void)
{
	struct sigaction act = { .sa_handler = nothing };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	must(!sigprocmask(SIG_BLOCK, &set, NULL));
	must(!sigaction(SIGUSR1, &act, NULL));
	for (intptr_t i = 0; i < WAITS; i++)
		must(!pthread_create(&threads[i], NULL, waiter, (void *)i));
	for (int i = 0; i < WAITS; i++)
		await_wait(limit_of(i));
	/* Time that passes is what the case is about: this much of each limit is gone before the dump. */
	pause_ms(1500);
	ready();
	for (int i = 0; i < WAITS; i++)
		check_wait(names[i], limit_of(i), 1400);
	for (int i = 0; i < WAITS; i++)
		check(!__atomic_load_n(&ended[i], __ATOMIC_SEQ_CST), "%s has ended", names[i]);
	for (int i = 0; i < WAITS; i++) {
		must(!pthread_kill(threads[i], SIGUSR1));
		must(!pthread_join(threads[i], NULL));
	}
}
