/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"
#include "huge.h"

CASE(.what = "anonymous memory of huge pages, private and shared, has huge pages still, with their contents");

/* Whether the mapping at an address has huge pages. */
static bool is_huge(const void *at)
{
	char maps[256], flags[256];

	return smaps_of(at, maps, sizeof(maps), flags, sizeof(flags)) && strstr(flags, " ht ") &&
	       strstr(maps, "/anon_hugepage (deleted)");
}

static void run(void)
{
	uint8_t *private, *reserved, *shared, *part;
	_Atomic int *turn;
	int status;
	pid_t child;

	if (!huge_pages(16)) {
		ready();
		return;
	}
	private = map(NULL, 4 * HUGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_HUGETLB);
	fill(private, HUGE + PAGE, 1);
	must(!mprotect(private + HUGE, HUGE, PROT_READ) && !madvise(private + 3 * HUGE, HUGE, MADV_DONTFORK));
	fill(private + 3 * HUGE, PAGE, 2);
	/* More than the machine has. */
	reserved = map(NULL, 1ul << 40, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE);
	fill(reserved + 1000 * HUGE, PAGE, 3);
	shared = map(NULL, 3 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB);
	fill(shared + HUGE, PAGE, 4);
	turn = (_Atomic int *)shared;
	child = fork();
	must(child >= 0);
	if (!child) {
		/* Has a part, elsewhere. */
		part = map(NULL, 4 * HUGE, PROT_NONE, ANONYMOUS);
		part = (uint8_t *)(((uintptr_t)part + HUGE - 1) & -HUGE);
		must(mremap(shared + HUGE, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, part) == part);
		must(!munmap(shared + 2 * HUGE, HUGE) && !munmap(reserved, 1ul << 40));
		fill(private, PAGE, 5);
		*turn = 1;
		await_file("go");
		while (*turn != 2)
			pause_ms(1);
		check(!spoiled(part, PAGE, 6), "the child does not see what the parent wrote");
		check(!spoiled(private, PAGE, 5), "what the child wrote privately");
		check(is_huge(part) && is_huge(private), "pages of the child");
		fill(part, PAGE, 7);
		*turn = 3;
		_exit(!!case_failures);
	}
	while (*turn != 1)
		pause_ms(1);

	ready();

	check(is_huge(private) && is_huge(private + HUGE) && is_huge(reserved) && is_huge(shared), "pages");
	check(!spoiled(private, HUGE + PAGE, 1) && !spoiled(private + 3 * HUGE, PAGE, 2), "private memory");
	check(!private[2 * HUGE] && !private[2 * HUGE - 1], "zeros");
	check(!spoiled(reserved + 1000 * HUGE, PAGE, 3), "memory that is not reserved");
	check(!spoiled(shared + HUGE, PAGE, 4) && !shared[2 * HUGE], "shared memory");
	must(!mprotect(private + HUGE, HUGE, PROT_READ | PROT_WRITE));
	fill(private, 4 * HUGE, 8);
	check(!spoiled(private, 4 * HUGE, 8), "private memory that was written");
	fill(shared + HUGE, PAGE, 6);
	*turn = 2;
	check(waitpid(child, &status, 0) == child && status == 0 && *turn == 3, "child: %x", status);
	check(!spoiled(shared + HUGE, PAGE, 7), "what the child wrote");
}
