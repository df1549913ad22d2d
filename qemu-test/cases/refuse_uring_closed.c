/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "uring.h"

CASE(.what = "the mapped memory of an io_uring that is closed is refused",
     .refused = "the memory of an io_uring of which the process has no descriptor");

static void run(void)
{
	struct ring r;

	make_ring(&r, 256, 0);
	must(!close(r.fd));
	*next_entry(&r) = (struct io_uring_sqe){ .user_data = 9 };
	ready();
	check(*r.sq_tail == 1 && r.entries[0].user_data == 9, "its memory");
}
