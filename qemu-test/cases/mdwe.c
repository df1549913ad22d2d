/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "memory that was not to become executable cannot be made so");

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#define PR_GET_MDWE 66
#endif

static void run(void)
{
	uint8_t *at = map(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS);
	uint8_t *both = map(NULL, 4 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, ANONYMOUS);
	int before;

	fill(at, 4 * PAGE, 1);
	fill(both, 4 * PAGE, 2);
	must(!mprotect(at, 4 * PAGE, PROT_READ));
	/* The module does not tell of it; Linux 6.3 has it. */
	if (!access("/dev/ckpt", F_OK) || prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)) {
		ready();
		check(!spoiled(at, 4 * PAGE, 1) && !spoiled(both, 4 * PAGE, 2), "contents");
		return;
	}
	before = prctl(PR_GET_MDWE, 0, 0, 0, 0);

	ready();

	check(prctl(PR_GET_MDWE, 0, 0, 0, 0) == before, "it was %d and is %d", before, prctl(PR_GET_MDWE, 0, 0, 0, 0));
	check(!spoiled(at, 4 * PAGE, 1) && !spoiled(both, 4 * PAGE, 2), "contents");
	check(mprotect(at, PAGE, PROT_READ | PROT_EXEC) && errno == EACCES, "it can be made executable");
	check(mmap(NULL, PAGE, PROT_WRITE | PROT_EXEC, ANONYMOUS, -1, 0) == MAP_FAILED && errno == EACCES,
	      "such memory can be had");
}
