/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include <sys/eventfd.h>
#include "uring.h"

CASE(.what = "an io_uring that signals an eventfd is refused, and still does", .refused = "it signals an eventfd");

static void run(void)
{
	int event = eventfd(0, 0);
	struct ring r;
	uint64_t n = 0;

	must(event >= 0);
	make_ring(&r, 256, 0);
	must(!syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_EVENTFD, &event, 1));

	ready();
	*next_entry(&r) = (struct io_uring_sqe){ .opcode = IORING_OP_NOP };
	check(submit(&r, 1, 1) == 1, "submit: %s", strerror(errno));
	check(read(event, &n, 8) == 8 && n == 1, "signalled %llu times", (unsigned long long)n);
}
