/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "timers.h"
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>

/* A child that is debugged stands between the two others: one is frozen already, one not yet. */
CASE(.what = "after a refused dump waits go on with the time that was left", .refused = "traces it already");

static int full, longer;
/* From here on nothing may end a wait. */
static _Atomic bool is_set_up;

static void nothing(int signal)
{
	(void)signal;
}

static void wait_in_epoll(long seconds)
{
	struct epoll_event event;
	int result = epoll_wait(epoll_create1(0), &event, 1, (int)(seconds * 1000));

	check(result == -1 && errno == EINTR, "epoll_wait: %d, %s", result, strerror(errno));
}

static void *in_sigtimedwait(void *arg)
{
	struct timespec limit = { limit_of(0), 0 };
	sigset_t set;
	int result;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	/* A late waker, as of a page that was read in, ends it for nothing (kernel/signal.c:do_sigtimedwait). */
	do
		result = sigtimedwait(&set, NULL, &limit);
	while (result == -1 && errno == EINTR && !is_set_up);
	check(result == -1 && errno == EINTR, "sigtimedwait: %d, %s", result, strerror(errno));
	check(limit.tv_sec == limit_of(0) && !limit.tv_nsec, "the limit is %ld.%09ld s now", limit.tv_sec,
	      limit.tv_nsec);
	return arg;
}

/* As in limits_left_socket.c. */
static void *in_send(void *arg)
{
	char bytes[1000] = "";
	struct pollfd p = { longer, POLLIN, 0 };
	ssize_t n = send(full, bytes, sizeof(bytes), 0);

	check(poll(&p, 1, 0) == 0, "send had all of its time again");
	check(n == -1 && errno == EAGAIN, "send: %zd, %s", n, strerror(errno));
	return arg;
}

static void run(void)
{
	struct itimerspec time = { .it_value = { 5, 500000000 } };
	struct timeval limit = { 4, 0 }, now;
	socklen_t length = sizeof(now);
	char bytes[1000] = "";
	int pair[2];
	struct sigaction act = { .sa_handler = nothing };
	long limits[3] = { limit_of(1), 0, limit_of(2) };
	pid_t children[3];
	pthread_t thread, sender;
	sigset_t set;
	int status;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	must(!sigprocmask(SIG_BLOCK, &set, NULL));
	must(!sigaction(SIGUSR1, &act, NULL));
	must(!pthread_create(&thread, NULL, in_sigtimedwait, NULL));
	for (int i = 0; i < 3; i++) {
		must((children[i] = fork()) >= 0);
		if (children[i])
			continue;
		if (i == 1) {
			must(!ptrace(PTRACE_TRACEME, 0, 0, 0));
			raise(SIGSTOP);
			_exit(0);
		}
		wait_in_epoll(limits[i]);
		_exit(case_failures);
	}
	longer = timerfd_create(CLOCK_MONOTONIC, 0);
	must(longer >= 0 && !socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	full = pair[0];
	must(!setsockopt(full, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)));
	while (send(full, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	must(waitpid(children[1], &status, 0) == children[1] && WIFSTOPPED(status));
	await_wait(limit_of(0));
	await_wait(limits[0]);
	await_wait(limits[2]);
	must(!pthread_create(&sender, NULL, in_send, NULL));
	await_threads_in(SYS_rt_sigtimedwait, SYS_sendto);
	must(!timerfd_settime(longer, 0, &time, NULL));
	is_set_up = true;
	/* Time that passes is what the case is about: this much of the limits is gone before the dump. */
	pause_ms(3000);
	ready();
	check_wait("sigtimedwait", limit_of(0), 2900);
	check_wait("epoll_wait", limits[0], 2900);
	check_wait("the other epoll_wait", limits[2], 2900);
	must(!pthread_join(sender, NULL));
	check(!getsockopt(full, SOL_SOCKET, SO_SNDTIMEO, &now, &length) && now.tv_sec == limit.tv_sec &&
	      now.tv_usec == limit.tv_usec, "the limit of send is %ld.%06ld s", now.tv_sec, now.tv_usec);
	must(!pthread_kill(thread, SIGUSR1));
	must(!pthread_join(thread, NULL));
	must(!kill(children[0], SIGUSR1) && !kill(children[2], SIGUSR1));
	must(!ptrace(PTRACE_CONT, children[1], 0, 0));
	for (int i = 0; i < 3; i++)
		check(waitpid(children[i], &status, 0) == children[i] && !status, "child %d: %x", i, status);
}
