/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "memory of huge pages is the same, and huge pages stay switched off where they were");

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { HUGE = 2 << 20 };

/* Switches them off in a child, in one of the ways that there are, and looks whether they stay so. */
static pid_t without(unsigned long flags, const char *name)
{
	pid_t pid = fork();
	long before;

	must(pid >= 0);
	if (pid)
		return pid;
	/* Flags are of Linux 6.18. */
	if (prctl(PR_SET_THP_DISABLE, 1, flags, 0, 0))
		must(flags && errno == EINVAL);
	before = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
	leave_file(name);
	await_file("go");
	check(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == before, "it was %ld and is %d", before,
	      prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	_exit(!!case_failures);
}

static void run(void)
{
	uint8_t *space = map(NULL, 8 * HUGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_NORESERVE);
	uint8_t *at = (uint8_t *)(((unsigned long)space + HUGE - 1) & -HUGE);
	pid_t off = without(0, "off"), unless = without(2, "unless");
	int status;

	await_file("off");
	await_file("unless");
	/* A kernel without them says EINVAL. */
	madvise(at, 2 * HUGE, MADV_HUGEPAGE);
	fill(at, 2 * HUGE, 1);
	/* Made of small ones, and a part of one is gone again. */
	fill(at + 4 * HUGE, HUGE, 2);
	madvise(at + 4 * HUGE, HUGE, MADV_COLLAPSE);
	fill(at + 5 * HUGE, HUGE, 3);
	madvise(at + 5 * HUGE, HUGE, MADV_COLLAPSE);
	must(!madvise(at + 5 * HUGE + 64 * PAGE, 64 * PAGE, MADV_DONTNEED));

	ready();

	check(!spoiled(at, 2 * HUGE, 1), "huge pages");
	check(!spoiled(at + 4 * HUGE, HUGE, 2), "pages that were put together");
	for (size_t i = 0; i < HUGE / 8; i++) {
		bool gone = i / 512 >= 64 && i / 512 < 128;

		check(((uint64_t *)(at + 5 * HUGE))[i] == (gone ? 0 : pattern(3, i)), "page %zu of what was taken apart",
		      i / 512);
	}
	check(waitpid(off, &status, 0) == off && !status, "without huge pages: %x", status);
	check(waitpid(unless, &status, 0) == unless && !status, "without, unless advised: %x", status);
}
