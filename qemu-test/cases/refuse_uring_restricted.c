/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "uring.h"

CASE(.what = "an io_uring that may do only some things is refused", .refused = "it is restricted");

static void run(void)
{
	/* Of those for requests alone Linux 7.3 tells nothing. */
	struct io_uring_restriction only[2] = {
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_NOP },
		{ .opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_ENABLE_RINGS },
	};
	struct io_uring_cqe *done;
	struct ring r;

	make_ring(&r, 256, IORING_SETUP_R_DISABLED);
	must(!syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_RESTRICTIONS, only, 2));
	must(!syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	ready();
	*next_entry(&r) = (struct io_uring_sqe){ .opcode = IORING_OP_CLOSE, .fd = -1 };
	check(submit(&r, 1, 1) == 1, "submit: %s", strerror(errno));
	done = completion(&r);
	check(done && done->res == -EACCES, "result %d", done ? done->res : 0);
}
