/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "shadow_stack.h"

CASE(.what = "a shadow stack that was made read-only is refused", .refused = "shadow stack");

static void run(void)
{
	long mapped = syscall(SYS_MAP_SHADOW_STACK, 0, 4096, 0);

	if (mapped < 0)
		skip("neither this processor nor its kernel has shadow stacks");
	must(!mprotect((void *)mapped, 4096, PROT_READ));
	ready();
	check(!munmap((void *)mapped, 4096), "it is not mapped any more: %s", strerror(errno));
}
