/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "seccomp.h"
#include "smaps.h"

CASE(.what = "a program that may call next to nothing is dumped, also while it runs, with much memory");

static void run(void)
{
	enum { SIZE = 24 << 20 };
	uint8_t *memory = map(NULL, SIZE, PROT_READ | PROT_WRITE, ANONYMOUS);

	fill(memory, SIZE, 1);
	must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	must(!filter_all_but_those_of_a_case(0));
	ready();
	check(!spoiled(memory, SIZE, 1), "memory");
}
