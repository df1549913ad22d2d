/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "uring.h"

CASE(.what = "an io_uring with a read that waits for a pipe is refused", .refused = "1 request is not completed yet");

static void run(void)
{
	struct io_uring_cqe *done;
	struct ring r;
	int ends[2];
	char got = 0;

	must(!pipe(ends));
	make_ring(&r, 256, 0);
	*next_entry(&r) = (struct io_uring_sqe){ .opcode = IORING_OP_READ, .fd = ends[0], .addr = (uintptr_t)&got,
						 .len = 1, .off = -1 };
	must(submit(&r, 1, 0) == 1);

	ready();
	must(write(ends[1], "x", 1) == 1);
	check(submit(&r, 0, 1) == 0, "wait: %s", strerror(errno));
	done = completion(&r);
	check(done && done->res == 1 && got == 'x', "the read");
}
