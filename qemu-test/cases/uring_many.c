/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "uring.h"

CASE(.what = "an io_uring that was never used, and one with a million requests behind it, go on");

enum { MANY = 1000003 };

static void nops(struct ring *r, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		*next_entry(r) = (struct io_uring_sqe){ .opcode = IORING_OP_NOP, .user_data = i + 1 };
	check(submit(r, count, count) == (int)count, "submit: %s", strerror(errno));
	for (unsigned i = 0; i < count; i++) {
		struct io_uring_cqe *done = completion(r);

		check(done && done->user_data == i + 1 && done->res == 0, "completion %u", i);
		completion_read(r);
	}
}

static void run(void)
{
	struct ring unused, used;

	make_ring(&unused, 128, 0);
	make_ring(&used, 64, IORING_SETUP_NO_SQARRAY);
	for (unsigned done = 0; done < MANY;) {
		unsigned more = MANY - done < 64 ? MANY - done : 64;

		nops(&used, more);
		done += more;
	}
	must(!case_failures);

	ready();
	check(*used.sq_head == MANY && *used.cq_tail == MANY, "counters %u, %u", *used.sq_head, *used.cq_tail);
	check(*unused.sq_head == 0 && *unused.cq_tail == 0, "counters %u, %u", *unused.sq_head, *unused.cq_tail);
	for (int i = 0; i < 5; i++) {
		nops(&used, 61);
		nops(&unused, 127);
	}
}
