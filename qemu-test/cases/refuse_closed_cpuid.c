/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

/* The module cannot be asked for it. */
CASE(.what = "a program to which CPUID is closed is refused", .dump = "--backend mainline",
     .refused = "ARCH_SET_CPUID");

enum { GET = 0x1011, SET = 0x1012 };

static void run(void)
{
	if (syscall(SYS_arch_prctl, SET, 0))
		skip("this processor cannot close CPUID");
	ready();
	check(syscall(SYS_arch_prctl, GET, 0) == 0, "it is open");
}
