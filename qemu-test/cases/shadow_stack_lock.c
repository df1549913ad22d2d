/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "shadow_stack.h"

CASE(.what = "features of shadow stacks that are locked stay so");

static void run(void)
{
	int writing;

	if (syscall(SYS_arch_prctl, SHSTK_LOCK, SHSTK) && errno == EINVAL)
		skip("the kernel has no shadow stacks");
	must(syscall(SYS_arch_prctl, SHSTK_ENABLE, SHSTK) && errno == EPERM);
	/* Not without a shadow stack; the error depends on the processor. */
	must(syscall(SYS_arch_prctl, SHSTK_ENABLE, WRSS));
	writing = errno;
	ready();
	check(syscall(SYS_arch_prctl, SHSTK_ENABLE, SHSTK) && errno == EPERM, "not locked: %s", strerror(errno));
	check(syscall(SYS_arch_prctl, SHSTK_ENABLE, WRSS) && errno == writing, "locked too: %s", strerror(errno));
}
