/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>

/*
 * What is left of these limits can be seen nowhere: but they end before a
 * timer does that was started after them and runs for longer, and they would
 * end after it if they had all of their time again.
 */
CASE(.what = "calls on sockets with a time limit go on with what was left");

enum { RECV, READ, WAITS };

static const char *const names[] = { "recv", "read" };
static int pairs[WAITS][2];
static const struct timeval limit = { 4, 0 };
static int longer;

static void *waiter(void *arg)
{
	int which = (int)(intptr_t)arg, fd = pairs[which][0];
	struct pollfd p = { longer, POLLIN, 0 };
	struct timeval now;
	socklen_t length = sizeof(now);
	char bytes[16] = "";
	ssize_t n;

	if (which == RECV)
		n = recv(fd, bytes, sizeof(bytes), 0);
	else
		n = read(fd, bytes, sizeof(bytes));
	check(n == -1 && errno == EAGAIN, "%s: %zd, %s", names[which], n, strerror(errno));
	check(poll(&p, 1, 0) == 0, "%s had all of its time again", names[which]);
	check(!getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &now, &length) && now.tv_sec == limit.tv_sec &&
	      now.tv_usec == limit.tv_usec, "%s: the limit is %ld.%06ld s", names[which], now.tv_sec,
	      now.tv_usec);
	return NULL;
}

static void run(void)
{
	struct itimerspec time = { .it_value = { 5, 500000000 } };
	pthread_t threads[WAITS];

	longer = timerfd_create(CLOCK_MONOTONIC, 0);
	must(longer >= 0);
	for (int i = 0; i < WAITS; i++) {
		must(!socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]));
		must(!setsockopt(pairs[i][0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
	}
	for (intptr_t i = 0; i < WAITS; i++)
		must(!pthread_create(&threads[i], NULL, waiter, (void *)i));
	await_threads_in(SYS_recvfrom, SYS_read);
	must(!timerfd_settime(longer, 0, &time, NULL));
	/* Time that passes is what the case is about: this much of the limits is gone before the dump. */
	pause_ms(3000);
	ready();
	for (int i = 0; i < WAITS; i++)
		must(!pthread_join(threads[i], NULL));
}
