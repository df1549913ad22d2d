/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

CASE(.what = "epoll watches what it watched, for the same events, with the same data");

static void add(int epoll, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = { .events = events, .data.u64 = data };

	must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

/* Whether exactly this is reported now. */
static bool reports(int epoll, uint32_t events, uint64_t data)
{
	struct epoll_event event[4];
	int n = epoll_wait(epoll, event, 4, 0);

	if (n == 1 && event[0].events == events && event[0].data.u64 == data)
		return true;
	dprintf(2, "%d reported: %#x %#llx\n", n, event[0].events,
		n > 0 ? (unsigned long long)event[0].data.u64 : 0);
	return false;
}

static bool is_quiet(int epoll)
{
	struct epoll_event event;

	return epoll_wait(epoll, &event, 1, 0) == 0;
}

static void run(void)
{
	int level = epoll_create1(EPOLL_CLOEXEC), edge = epoll_create1(0), oneshot = epoll_create1(0);
	int outer = epoll_create1(0), reused = epoll_create1(0);
	int a = eventfd(1, 0), b = eventfd(0, 0), c = eventfd(0, 0), d = eventfd(1, 0), kept, first;
	struct epoll_event event;
	uint64_t n = 1;

	must(level >= 0 && edge >= 0 && oneshot >= 0 && outer >= 0 && reused >= 0);
	must(a >= 0 && b >= 0 && c >= 0 && d >= 0);
	add(level, a, EPOLLIN, 0x1122334455667788ULL);
	add(edge, b, EPOLLIN | EPOLLET, 2);
	add(oneshot, c, EPOLLIN | EPOLLONESHOT, 3);
	add(outer, level, EPOLLIN, 4);
	/* Watched under a number that means something else by now, and under one that is closed. */
	kept = fcntl(d, F_DUPFD, 60);
	must(kept == 60);
	add(reused, d, EPOLLIN, 5);
	must(dup2(b, d) == d);
	first = fcntl(kept, F_DUPFD, 90);
	must(first == 90);
	add(reused, first, EPOLLOUT, 6);
	close(first);

	ready();
	check(reports(level, EPOLLIN, 0x1122334455667788ULL), "level-triggered");
	check(reports(outer, EPOLLIN, 4), "an epoll in an epoll");
	check(read(a, &n, 8) == 8 && is_quiet(level) && is_quiet(outer), "it reports what was read");
	check(is_quiet(edge), "an edge that never was");
	n = 1;
	check(write(b, &n, 8) == 8 && reports(edge, EPOLLIN, 2) && is_quiet(edge), "edge-triggered");
	check(write(c, &n, 8) == 8 && reports(oneshot, EPOLLIN, 3) && is_quiet(oneshot), "one-shot");
	event.events = EPOLLIN | EPOLLONESHOT;
	event.data.u64 = 33;
	check(epoll_ctl(oneshot, EPOLL_CTL_MOD, c, &event) == 0 && reports(oneshot, EPOLLIN, 33),
	      "the one-shot cannot be armed again");
	/* `kept` holds 1: it can be read and written, by two entries. */
	struct epoll_event both[4];

	check(epoll_wait(reused, both, 4, 0) == 2 && both[0].data.u64 + both[1].data.u64 == 11,
	      "entries under numbers that were closed");
	check(fcntl(90, F_GETFD) == -1, "a closed number is open");
	check(epoll_ctl(reused, EPOLL_CTL_DEL, d, NULL) == -1 && errno == ENOENT,
	      "the entry is of what has its number now");
}
