/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "shadow_stack.h"

CASE(.what = "a thread is on a shadow stack that it has mapped, may write to one, and goes back to its own");

enum { SIZE = 4 << 12 };

static long deep(void)
{
	ready();
	return 0;
}

static void run(void)
{
	unsigned long mapped, spare, own, word = 0x1234567;
	long result;

	switch_on_shadow_stack();
	mapped = syscall(SYS_MAP_SHADOW_STACK, 0, SIZE, SET_TOKEN);
	spare = syscall(SYS_MAP_SHADOW_STACK, 0, SIZE, SET_TOKEN);
	must((long)mapped > 0 && (long)spare > 0);
	must(!syscall(SYS_arch_prctl, SHSTK_ENABLE, WRSS));
	must(!syscall(SYS_arch_prctl, SHSTK_LOCK, SHSTK));
	__asm__ volatile("wrssq %1, (%0)" ::"r"(spare), "r"(word) : "memory");
	own = shadow_stack_pointer();
	switch_shadow_stack(mapped + SIZE - 8);
	must(shadow_stack_pointer() > mapped && shadow_stack_pointer() <= mapped + SIZE);
	result = descend(3, deep);
	check(result == 4, "came back with %ld", result);
	check(*(unsigned long *)spare == word, "it has %#lx", *(unsigned long *)spare);
	check(*(unsigned long *)(spare + SIZE - 8) == (spare + SIZE) + 1, "the token is gone");
	__asm__ volatile("wrssq %1, 8(%0)" ::"r"(spare), "r"(word) : "memory");
	check(((unsigned long *)spare)[1] == word, "not written");
	check(syscall(SYS_arch_prctl, SHSTK_DISABLE, SHSTK) && errno == EPERM, "not locked: %s", strerror(errno));
	check(!syscall(SYS_arch_prctl, SHSTK_DISABLE, WRSS), "locked: %s", strerror(errno));
	switch_shadow_stack(own - 8);
	check(shadow_stack_pointer() == own, "back at %#lx, not %#lx", shadow_stack_pointer(), own);
	_exit(case_failures ? 1 : 0);
}
