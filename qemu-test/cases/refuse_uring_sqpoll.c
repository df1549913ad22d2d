/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "uring.h"

CASE(.what = "an io_uring that a thread of the kernel polls is refused",
     .refused = "a thread of the kernel (iou-sqp-");

static void run(void)
{
	struct ring r;

	make_ring(&r, 256, IORING_SETUP_SQPOLL);
	ready();
	*next_entry(&r) = (struct io_uring_sqe){ .opcode = IORING_OP_NOP, .user_data = 5 };
	check(syscall(SYS_io_uring_enter, r.fd, 1, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP, NULL, 0) == 1,
	      "submit: %s", strerror(errno));
	check(completion(&r) && completion(&r)->user_data == 5, "the request");
}
