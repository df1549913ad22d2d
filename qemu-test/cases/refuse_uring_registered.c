/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include <sys/uio.h>
#include "uring.h"

CASE(.what = "an io_uring with registered buffers is refused", .refused = "it has 1 registered buffer");

static void run(void)
{
	static char buffer[4096] __attribute__((aligned(4096)));
	struct iovec one = { buffer, sizeof(buffer) };
	struct ring r;

	make_ring(&r, 256, 0);
	must(!syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_BUFFERS, &one, 1));

	ready();
	check(!syscall(SYS_io_uring_register, r.fd, IORING_UNREGISTER_BUFFERS, NULL, 0), "unregister: %s",
	      strerror(errno));
}
