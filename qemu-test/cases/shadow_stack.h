/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Shadow stacks of x86 processors (CET), made by the kernel's own calls: libc is not asked. */
#ifndef SHADOW_STACK_H
#define SHADOW_STACK_H

#include "case.h"

enum { SHSTK_ENABLE = 0x5001, SHSTK_DISABLE = 0x5002, SHSTK_LOCK = 0x5003 };
enum { SHSTK = 1, WRSS = 2 };
enum { SYS_MAP_SHADOW_STACK = 453, SET_TOKEN = 1 };

/*
 * Switches on the shadow stack of this thread, in place: who does that must not return, as what called it is not on
 * the shadow stack.
 */
#define switch_on_shadow_stack()                                                                                       \
	do {                                                                                                           \
		long result_;                                                                                          \
                                                                                                                       \
		__asm__ volatile("syscall"                                                                             \
				 : "=a"(result_)                                                                       \
				 : "a"(SYS_arch_prctl), "D"(SHSTK_ENABLE), "S"(SHSTK)                                  \
				 : "rcx", "r11", "memory");                                                            \
		if (result_)                                                                                           \
			skip("neither this processor nor its kernel has shadow stacks");                               \
	} while (0)

/* Where this thread is on its shadow stack. */
#define shadow_stack_pointer()                                                                                         \
	({                                                                                                             \
		unsigned long pointer_ = 0;                                                                            \
                                                                                                                       \
		__asm__ volatile("rdsspq %0" : "+r"(pointer_));                                                        \
		pointer_;                                                                                              \
	})

/* Goes over to the shadow stack that has a token at this address, and leaves one where it was. */
#define switch_shadow_stack(token)                                                                                     \
	__asm__ volatile("rstorssp (%0)\n\tsaveprevssp" ::"r"(token) : "memory")

/* How many shadow stacks the process has. */
static inline int count_shadow_stacks(void)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	char line[512];
	int count = 0;

	must(smaps);
	while (fgets(line, sizeof(line), smaps))
		count += !strncmp(line, "VmFlags:", 8) && strstr(line, " ss");
	fclose(smaps);
	return count;
}

/* Calls itself so many times, then calls this; every return is one that the processor compares. */
static long __attribute__((noinline, unused)) descend(int times, long (*then)(void))
{
	volatile long result = times ? descend(times - 1, then) : then();

	return result + 1;
}

#endif
