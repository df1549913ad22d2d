/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a program with a shadow stack is refused", .refused = "shadow stack");

static void run(void)
{
	const long enable = 0x5001, shstk = 1;
	long result;

	/* In place: to return from where it was switched on would be a return to nowhere. */
	__asm__ volatile("syscall" : "=a"(result) : "a"(SYS_arch_prctl), "D"(enable), "S"(shstk)
			 : "rcx", "r11", "memory");
	if (result)
		skip("neither this processor nor its kernel has shadow stacks");
	ready();
	_exit(case_failures ? 1 : 0);
}
