/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"
#include <setjmp.h>

CASE(.what = "reserved address space stays reserved and sparse, guards still guard");

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static sigjmp_buf escape;

static void on_fault(int signal)
{
	siglongjmp(escape, signal);
}

static bool faults(volatile uint8_t *at)
{
	if (sigsetjmp(escape, 1))
		return true;
	(void)*at;
	return false;
}

/* Bytes in memory, from /proc/self/statm. */
static size_t resident(void)
{
	char text[256] = "";
	unsigned long total, pages;

	slurp("/proc/self/statm", text, sizeof(text) - 1);
	must(sscanf(text, "%lu %lu", &total, &pages) == 2);
	return pages * PAGE;
}

static void run(void)
{
	size_t tera = 1ul << 40;
	uint8_t *reserved = map(NULL, tera, PROT_NONE, ANONYMOUS | MAP_NORESERVE);
	uint8_t *sparse = map(NULL, tera, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_NORESERVE);
	uint8_t *guarded = map(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS);
	bool has_guards;
	size_t before, after;

	signal(SIGSEGV, on_fault);
	must(!madvise(sparse, tera, MADV_NOHUGEPAGE));
	for (size_t i = 0; i < 64; i++)
		fill(sparse + i * (tera / 64) + i * PAGE, PAGE, i);
	must(!mprotect(reserved + (tera / 2), 4 * PAGE, PROT_READ | PROT_WRITE));
	fill(reserved + tera / 2 + PAGE, PAGE, 99);
	fill(guarded, 16 * PAGE, 100);
	/* Linux 6.13. */
	has_guards = !madvise(guarded + 4 * PAGE, 2 * PAGE, MADV_GUARD_INSTALL);
	before = resident();

	ready();

	after = resident();
	check(after < before + (4 << 20), "%zu bytes in memory became %zu", before, after);
	for (size_t i = 0; i < 64; i++)
		check(!spoiled(sparse + i * (tera / 64) + i * PAGE, PAGE, i), "page %zu", i);
	check(!sparse[tera - 1], "the last byte is not zero");
	check(!spoiled(reserved + tera / 2 + PAGE, PAGE, 99), "the page in the reserved space");
	check(faults(reserved) && faults(reserved + tera - 1), "reserved space can be read");
	check(!mprotect(reserved + 12 * PAGE, PAGE, PROT_READ | PROT_WRITE), "reserved space cannot be used");
	reserved[12 * PAGE] = 1;
	if (has_guards) {
		for (int page = 0; page < 16; page++)
			check(faults(guarded + page * PAGE) == (page == 4 || page == 5), "guard %d", page);
		check(((uint64_t *)(guarded + 6 * PAGE))[0] == pattern(100, 6 * 512), "behind the guard");
	}
}
