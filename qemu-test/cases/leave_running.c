/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "an image is of one moment, whatever the program writes meanwhile");

/*
 * It rewrites one word in each page, in order, and then looks: nobody else
 * writes, so every word is of this round. In an image that was copied while
 * the program wrote, some pages would be of a later round than the registers.
 */
enum { PAGES = 8192 };

static void run(void)
{
	uint64_t *memory = map(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS);
	uint64_t *wiped = map(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS);
	uint64_t *private = map(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS);
	uint64_t *shared = map(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	uint64_t *closed = map(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS);
	volatile uint64_t *words = memory;
	bool stop = false;
	size_t wrong = 0;
	char go[PATH_MAX];
	uint64_t round;

	/* What a fork would not have copied. */
	must(!madvise(wiped, 16 * PAGE, MADV_WIPEONFORK) && !madvise(private, 16 * PAGE, MADV_DONTFORK));
	fill(wiped, 16 * PAGE, 1);
	fill(private, 16 * PAGE, 2);
	fill(shared, 16 * PAGE, 3);
	/* What the program itself could not read. */
	fill(closed, 16 * PAGE, 4);
	must(!mprotect(closed, 16 * PAGE, PROT_NONE));
	snprintf(go, sizeof(go), "%s/go", case_dir);
	leave_file("ready");
	for (round = 1; !stop; round++) {
		for (size_t page = 0; page < PAGES; page++)
			words[page * 512 + 9] = round;
		/* So that a restored program, too, ends when it is told. */
		stop = !access(go, F_OK);
		for (size_t page = 0; page < PAGES; page++)
			wrong += words[page * 512 + 9] != round;
	}
	check(!wrong, "%zu pages were of another moment", wrong);
	check(!spoiled(wiped, 16 * PAGE, 1), "MADV_WIPEONFORK memory");
	check(!spoiled(private, 16 * PAGE, 2), "MADV_DONTFORK memory");
	check(!spoiled(shared, 16 * PAGE, 3), "shared memory");
	must(!mprotect(closed, 16 * PAGE, PROT_READ));
	check(!spoiled(closed, 16 * PAGE, 4), "PROT_NONE memory");
}
