/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

CASE(.what = "threads that wait go on waiting, and are woken by what they wait for, without EINTR");

static int event[4];
static uint32_t word, timed_word;

#define IN_THREAD(name) static void *name(void *arg)

IN_THREAD(in_poll)
{
	struct pollfd p = { event[0], POLLIN, 0 };
	int n = poll(&p, 1, -1);

	(void)arg;
	check(n == 1 && p.revents == POLLIN, "poll: %d, %s", n, strerror(errno));
	return NULL;
}

IN_THREAD(in_timed_poll)
{
	struct pollfd p = { event[1], POLLIN, 0 };
	int n = poll(&p, 1, 3600 * 1000);

	(void)arg;
	check(n == 1 && p.revents == POLLIN, "poll with a limit: %d, %s", n, strerror(errno));
	return NULL;
}

IN_THREAD(in_short_poll)
{
	struct pollfd p = { event[2], POLLIN, 0 };
	int n = poll(&p, 1, 500);

	(void)arg;
	check(n == 0, "poll until its limit: %d, %s", n, strerror(errno));
	return NULL;
}

IN_THREAD(in_futex)
{
	int n = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL);

	(void)arg;
	check(n == 0, "futex: %s", strerror(errno));
	return NULL;
}

IN_THREAD(in_timed_futex)
{
	struct timespec limit = { 3600, 0 };
	int n = syscall(SYS_futex, &timed_word, FUTEX_WAIT_PRIVATE, 0, &limit);

	(void)arg;
	check(n == 0, "futex with a limit: %s", strerror(errno));
	return NULL;
}

IN_THREAD(in_read)
{
	uint64_t n;

	(void)arg;
	check(read(event[3], &n, 8) == 8 && n == 9, "read: %s", strerror(errno));
	return NULL;
}

IN_THREAD(in_sigwait)
{
	sigset_t set;
	siginfo_t info;
	int n;

	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	n = sigwaitinfo(&set, &info);
	check(n == SIGUSR2, "sigwaitinfo: %d, %s", n, strerror(errno));
	return NULL;
}

static void run(void)
{
	static void *(*const bodies[])(void *) = {
		in_poll, in_timed_poll, in_short_poll, in_futex, in_timed_futex, in_read, in_sigwait,
	};
	enum { COUNT = sizeof(bodies) / sizeof(bodies[0]), SIGWAIT = COUNT - 1 };
	pthread_t threads[COUNT];
	uint64_t nine = 9;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	must(!pthread_sigmask(SIG_BLOCK, &set, NULL));
	for (int i = 0; i < 4; i++)
		must((event[i] = eventfd(0, 0)) >= 0);
	for (int i = 0; i < COUNT; i++)
		must(!pthread_create(&threads[i], NULL, bodies[i], NULL));
	await_threads_in(SYS_poll, SYS_futex, SYS_read, SYS_rt_sigtimedwait);
	ready();
	/* The thread may be on its way into the kernel: it must be in there to be woken. */
	while (syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1) != 1)
		pause_ms(1);
	while (syscall(SYS_futex, &timed_word, FUTEX_WAKE_PRIVATE, 1) != 1)
		pause_ms(1);
	must(write(event[0], &nine, 8) == 8);
	must(write(event[1], &nine, 8) == 8);
	must(write(event[3], &nine, 8) == 8);
	must(!pthread_kill(threads[SIGWAIT], SIGUSR2));
	for (int i = 0; i < COUNT; i++)
		must(!pthread_join(threads[i], NULL));
}
