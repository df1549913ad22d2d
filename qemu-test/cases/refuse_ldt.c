/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

#include <asm/ldt.h>

/* The module cannot be asked for it. */
CASE(.what = "a program with entries in its local descriptor table is refused", .dump = "--backend mainline",
     .refused = "modify_ldt");

static void run(void)
{
	struct user_desc entry = { .entry_number = 3, .base_addr = 0x1000, .limit = 0x77, .seg_32bit = 1 };
	unsigned long limit = 0;

	if (syscall(SYS_modify_ldt, 1, &entry, sizeof(entry)))
		skip("the kernel has no modify_ldt");
	ready();
	__asm__("lsl %1, %0" : "+r"(limit) : "r"((unsigned long)(3 << 3 | 7)) : "cc");
	check(limit == 0x77, "limit is %lx", limit);
}
