/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "uring.h"

CASE(.what = "an io_uring is refused in which a timeout and a poll that came twice make up for each other",
     .refused = "a request of kind");

/*
 * As many completions as requests, and no poll left: only the entries that are still in the memory tell that a
 * request is under way.
 */
static void run(void)
{
	static struct __kernel_timespec day = { .tv_sec = 86400 };
	struct ring r;
	int ends[2];

	must(!pipe(ends));
	make_ring(&r, 256, 0);
	*next_entry(&r) = (struct io_uring_sqe){ .opcode = IORING_OP_TIMEOUT, .addr = (uintptr_t)&day, .len = 1,
						 .user_data = 1 };
	*next_entry(&r) = (struct io_uring_sqe){ .opcode = IORING_OP_POLL_ADD, .fd = ends[0], .poll32_events = 1,
						 .len = IORING_POLL_ADD_MULTI, .user_data = 2 };
	must(submit(&r, 2, 0) == 2);
	must(write(ends[1], "x", 1) == 1);
	must(submit(&r, 0, 1) == 0);
	/* It says that it is removed, and that it ends. */
	*next_entry(&r) = (struct io_uring_sqe){ .opcode = IORING_OP_POLL_REMOVE, .addr = 2, .user_data = 3 };
	must(submit(&r, 1, 3) == 1);
	must(*r.cq_tail == *r.sq_tail);

	ready();
	for (unsigned i = 0; i < *r.cq_tail; i++)
		check(completion(&r)->user_data != 1, "the timeout has ended");
}
