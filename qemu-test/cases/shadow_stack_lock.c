/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "features of shadow stacks that are locked stay so");

enum { ENABLE = 0x5001, LOCK = 0x5003, SHSTK = 1, WRSS = 2 };

static void run(void)
{
	if (syscall(SYS_arch_prctl, LOCK, SHSTK) && errno == EINVAL)
		skip("the kernel has no shadow stacks");
	must(syscall(SYS_arch_prctl, ENABLE, SHSTK) && errno == EPERM);
	must(syscall(SYS_arch_prctl, ENABLE, WRSS) && errno != EPERM);
	ready();
	check(syscall(SYS_arch_prctl, ENABLE, SHSTK) && errno == EPERM, "not locked: %s", strerror(errno));
	check(syscall(SYS_arch_prctl, ENABLE, WRSS) && errno != EPERM, "locked too");
}
