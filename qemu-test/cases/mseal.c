/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "sealed memory has its contents and is sealed");

#ifndef SYS_mseal
#define SYS_mseal 462
#endif

static void run(void)
{
	uint8_t *at = map(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS);
	bool sealed;

	fill(at, 4 * PAGE, 1);
	must(!mprotect(at, 4 * PAGE, PROT_READ));
	/* Linux 6.10. */
	sealed = !syscall(SYS_mseal, at, 4 * PAGE, 0);
	ready();
	check(!spoiled(at, 4 * PAGE, 1), "contents");
	if (sealed)
		check(mprotect(at, PAGE, PROT_READ | PROT_WRITE) == -1 && errno == EPERM, "the seal is gone");
}
