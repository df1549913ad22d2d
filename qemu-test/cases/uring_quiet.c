/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include "uring.h"

CASE(.what = "io_urings that only change what epoll watches go on with counters, completions and their work");

enum { ENTRIES = 256, BATCH = 7, BATCHES = 300 };

/* Adds and removes an eventfd some times, all in one batch, and takes the results. */
static void batch(struct ring *r, int epoll, int event, uint64_t tag)
{
	static struct epoll_event want = { .events = EPOLLIN, .data.u64 = 42 };
	struct io_uring_cqe *done;

	for (int i = 0; i < BATCH; i++) {
		struct io_uring_sqe *e = next_entry(r);

		*e = (struct io_uring_sqe){ .opcode = IORING_OP_EPOLL_CTL, .fd = epoll, .off = event,
					    .len = i % 2 ? EPOLL_CTL_DEL : EPOLL_CTL_ADD,
					    .addr = (uintptr_t)&want, .user_data = tag + i };
	}
	check(submit(r, BATCH, BATCH) == BATCH, "submit: %s", strerror(errno));
	for (int i = 0; i < BATCH; i++) {
		done = completion(r);
		check(done && done->user_data == tag + i && done->res == 0, "completion %d: %s", i,
		      !done ? "none" : strerror(-done->res));
		completion_read(r);
	}
	/* The last one has added it. */
	epoll_ctl(epoll, EPOLL_CTL_DEL, event, NULL);
}

static void run(void)
{
	struct ring rings[2];
	struct io_uring_cqe *done;
	struct epoll_event got;
	int epoll = epoll_create1(0), event = eventfd(1, 0);
	unsigned head, tail;

	must(epoll >= 0 && event >= 0);
	make_ring(&rings[0], ENTRIES, 0);
	make_ring(&rings[1], ENTRIES, IORING_SETUP_NO_SQARRAY);
	for (int i = 0; i < BATCHES; i++)
		for (int r = 0; r < 2; r++)
			batch(&rings[r], epoll, event, 1000 * i);
	must(!case_failures);

	/* One fails, and nobody reads of it. */
	*next_entry(&rings[1]) = (struct io_uring_sqe){ .opcode = IORING_OP_EPOLL_CTL, .fd = epoll, .off = event,
							.len = EPOLL_CTL_DEL, .user_data = 77 };
	must(submit(&rings[1], 1, 1) == 1);
	head = *rings[1].cq_head;
	tail = *rings[1].sq_tail;
	must(head == BATCH * BATCHES && tail == head + 1);

	ready();

	check(*rings[0].sq_head == BATCH * BATCHES && *rings[0].sq_tail == BATCH * BATCHES &&
	      *rings[0].cq_head == BATCH * BATCHES && *rings[0].cq_tail == BATCH * BATCHES,
	      "counters %u %u %u %u", *rings[0].sq_head, *rings[0].sq_tail, *rings[0].cq_head, *rings[0].cq_tail);
	check(*rings[1].sq_head == tail && *rings[1].sq_tail == tail && *rings[1].cq_head == head &&
	      *rings[1].cq_tail == tail, "counters %u %u %u %u", *rings[1].sq_head, *rings[1].sq_tail,
	      *rings[1].cq_head, *rings[1].cq_tail);
	for (unsigned i = 0; i < ENTRIES; i++)
		check(rings[0].array[i] == i, "array[%u] is %u", i, rings[0].array[i]);
	done = completion(&rings[1]);
	check(done && done->user_data == 77 && done->res == -ENOENT, "the completion that was not read");
	completion_read(&rings[1]);

	/* More than once around. */
	for (int i = 0; i < BATCHES; i++)
		for (int r = 0; r < 2; r++)
			batch(&rings[r], epoll, event, 7 + 1000 * i);

	/* What is added by a ring is watched. */
	static struct epoll_event want = { .events = EPOLLIN, .data.u64 = 43 };

	*next_entry(&rings[0]) = (struct io_uring_sqe){ .opcode = IORING_OP_EPOLL_CTL, .fd = epoll, .off = event,
							.len = EPOLL_CTL_ADD, .addr = (uintptr_t)&want };
	check(submit(&rings[0], 1, 1) == 1, "submit: %s", strerror(errno));
	check(epoll_wait(epoll, &got, 1, 0) == 1 && got.data.u64 == 43, "the eventfd is not watched");
}
