/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

#include <linux/aio_abi.h>

CASE(.what = "an asynchronous I/O context is refused", .refused = "the ring of an asynchronous I/O context");

static void run(void)
{
	aio_context_t context = 0;

	must(!syscall(SYS_io_setup, 8, &context));

	ready();
	check(!syscall(SYS_io_destroy, context), "%s", strerror(errno));
}
