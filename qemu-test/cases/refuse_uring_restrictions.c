/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

/* The module cannot be asked for it. */
CASE(.what = "a task whose io_urings are restricted is refused", .dump = "--backend mainline",
     .refused = "io_uring restrictions");

enum { REGISTER_RESTRICTIONS = 11 };

static void run(void)
{
	/* struct io_uring_task_restriction with one struct io_uring_restriction: no operation but 0. */
	struct {
		uint16_t flags, count;
		uint32_t reserved[3];
		struct {
			uint16_t kind;
			uint8_t operation, reserved[13];
		} allow;
	} restrictions = { .count = 1, .allow = { .kind = 1, .operation = 0 } };

	if (syscall(SYS_io_uring_register, -1, REGISTER_RESTRICTIONS, &restrictions, 1))
		skip("the kernel has no such restrictions");
	ready();
	check(syscall(SYS_io_uring_register, -1, REGISTER_RESTRICTIONS, &restrictions, 1) < 0 && errno == EPERM,
	      "they are gone: %s", strerror(errno));
}
