/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "uring.h"

CASE(.what = "an io_uring with large entries is refused", .refused = "IORING_SETUP_SQE128");

static void run(void)
{
	struct io_uring_params p = { .flags = IORING_SETUP_SQE128 };
	int fd = syscall(SYS_io_uring_setup, 64, &p);

	if (fd < 0)
		skip("the kernel makes none");
	ready();
	check(fcntl(fd, F_GETFD) == FD_CLOEXEC, "it is gone");
}
