/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "uring.h"

CASE(.what = "an io_uring that a child has from its parent is one ring for both, at the same addresses");

static void nop(struct ring *r, uint64_t tag)
{
	*next_entry(r) = (struct io_uring_sqe){ .opcode = IORING_OP_NOP, .user_data = tag };
	check(submit(r, 1, 1) == 1, "submit: %s", strerror(errno));
}

static void run(void)
{
	struct io_uring_cqe *done;
	struct ring r;
	pid_t child;
	int status;

	make_ring(&r, 64, 0);
	for (int i = 0; i < 100; i++) {
		nop(&r, i);
		completion_read(&r);
	}
	child = fork();
	must(child >= 0);
	if (!child) {
		await_file("go");
		nop(&r, 1001);
		_exit(case_failures);
	}

	ready();
	check(waitpid(child, &status, 0) == child && status == 0, "the child: %x", status);
	done = completion(&r);
	check(done && done->user_data == 1001, "the parent does not see what the child had done");
	completion_read(&r);
	nop(&r, 1002);
	done = completion(&r);
	check(done && done->user_data == 1002 && *r.sq_head == 102, "the second, of %u", *r.sq_head);
}
