/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "uring.h"

CASE(.what = "an io_uring that was made for one thread is refused", .refused = "only one thread may use it");

static void run(void)
{
	struct ring r;

	make_ring(&r, 256, IORING_SETUP_SINGLE_ISSUER);
	ready();
	*next_entry(&r) = (struct io_uring_sqe){ .opcode = IORING_OP_NOP, .user_data = 5 };
	check(submit(&r, 1, 1) == 1 && completion(&r) && completion(&r)->user_data == 5, "the request");
}
