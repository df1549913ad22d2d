/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "uring.h"

CASE(.what = "an io_uring so small that the size of its entries cannot be told is refused",
     .refused = "it is too small to tell");

static void run(void)
{
	struct ring r;

	make_ring(&r, 32, 0);
	ready();
	*next_entry(&r) = (struct io_uring_sqe){ .opcode = IORING_OP_NOP, .user_data = 5 };
	check(submit(&r, 1, 1) == 1 && completion(&r) && completion(&r)->user_data == 5, "the request");
}
