/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "uring.h"

CASE(.what = "an io_uring with a request that the kernel has not taken yet is refused",
     .refused = "1 request was submitted and not taken yet");

static void run(void)
{
	struct ring r;

	make_ring(&r, 256, 0);
	*next_entry(&r) = (struct io_uring_sqe){ .opcode = IORING_OP_NOP, .user_data = 5 };

	ready();
	check(submit(&r, 1, 1) == 1 && completion(&r) && completion(&r)->user_data == 5, "the request");
}
