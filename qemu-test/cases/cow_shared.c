/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "parent, children and grandchildren go on sharing the pages that nobody has written since the fork");

enum { SIZE = 4096 * PAGE, CHILDREN = 4, OWN = 16 };

static uint8_t *memory, *closed, *file;
/* Written by each about itself. */
static struct report {
	long private, shared;
	int ready, measured, looked;
} *reports;

/* What the large mapping has of pages that are its own, and of those that others have too, in KiB. */
static void measure(long *private, long *shared)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	bool here = false;
	char line[4096];
	long value;

	must(f);
	*private = *shared = 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start == (unsigned long)memory;
		else if (here && (sscanf(line, "Private_Clean: %ld", &value) == 1 ||
				  sscanf(line, "Private_Dirty: %ld", &value) == 1))
			*private += value;
		else if (here && (sscanf(line, "Shared_Clean: %ld", &value) == 1 ||
				  sscanf(line, "Shared_Dirty: %ld", &value) == 1))
			*shared += value;
	}
	fclose(f);
}

/* Which pages of the large mapping a member has written: none of them another member has. */
static size_t own_page(int member, int i)
{
	return 100 + member * 200 + i * 3;
}

static void write_own(int member)
{
	for (int i = 0; i < OWN; i++)
		fill(memory + own_page(member, i) * PAGE, PAGE, 1000 + member);
}

/* The words that a page must have: those of the last who wrote it among `member` and its ancestors. */
static uint64_t wanted(int member, size_t page, int word)
{
	/* The parent of the grandchild is child 1, that of the others the first process. */
	int line[] = { 0, member > CHILDREN ? 1 : member, member };

	for (int generation = 2; generation >= 0; generation--)
		for (int i = 0; i < OWN; i++)
			if (page == own_page(line[generation], i))
				return pattern(1000 + line[generation], word);
	return pattern(member == 0 && page >= 2000 && page < 2100 ? 2 : 1, page * 512 + word);
}

static void look(int member)
{
	struct report *report = &reports[member];
	long private, shared;

	for (size_t page = 0; page < SIZE / PAGE; page++)
		for (int word = 0; word < 512; word += 73) {
			uint64_t is = ((uint64_t *)memory)[page * 512 + word], want = wanted(member, page, word);

			check(is == want, "member %d, page %zu, word %d: %lx, not %lx", member, page, word, is, want);
		}
	check(!memory[SIZE + 5 * PAGE] == !!member, "member %d: a page that it has given back", member);
	must(!mprotect(closed, 64 * PAGE, PROT_READ));
	check(!spoiled(closed, 64 * PAGE, 3), "member %d: PROT_NONE memory", member);
	must(!mprotect(closed, 64 * PAGE, PROT_NONE));
	check(!memcmp(file, "written", 7) && !memcmp(file + PAGE, "second", 6), "member %d: file mapping", member);
	/* With those who end, nobody shares any more: all look before one ends. */
	measure(&private, &shared);
	__atomic_store_n(&report->looked, 1, __ATOMIC_RELEASE);
	for (int i = 0; i <= CHILDREN + 1; i++)
		while (!__atomic_load_n(&reports[i].looked, __ATOMIC_ACQUIRE))
			pause_ms(2);
	/* A page that was read ahead or split from a large one does not make it double. */
	check(private <= report->private + 512, "member %d: %ld KiB are its own, %ld were", member, private, report->private);
	check(shared + 512 >= report->shared, "member %d: %ld KiB are shared, %ld were", member, shared, report->shared);
}

static void __attribute__((noreturn)) child(int member)
{
	pid_t pid = 0;

	write_own(member);
	/* Forget a page that the parent has. */
	must(!madvise(memory + SIZE + 5 * PAGE, PAGE, MADV_DONTNEED));
	if (member == 1) {
		pid = fork();
		must(pid >= 0);
		if (!pid)
			child(CHILDREN + 1);
	}
	reports[member].ready = 1;
	while (!reports[0].ready)
		pause_ms(2);
	measure(&reports[member].private, &reports[member].shared);
	reports[member].measured = 1;
	await_file("go");
	look(member);
	if (pid) {
		int status;

		check(waitpid(pid, &status, 0) == pid && !status, "grandchild: %x", status);
	}
	_exit(!!case_failures);
}

static void run(void)
{
	pid_t pids[CHILDREN + 1];
	char path[PATH_MAX];
	long private, shared;
	int fd, status;

	reports = map(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	memory = map(NULL, SIZE + 16 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS);
	closed = map(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS);
	must(!madvise(memory, SIZE, MADV_NOHUGEPAGE));
	fill(memory, SIZE, 1);
	fill(memory + SIZE, 16 * PAGE, 9);
	fill(closed, 64 * PAGE, 3);
	must(!mprotect(closed, 64 * PAGE, PROT_NONE));
	snprintf(path, sizeof(path), "%s/mapped", case_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(fd >= 0 && !ftruncate(fd, 2 * PAGE) && pwrite(fd, "second", 6, PAGE) == 6);
	file = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	must(file != MAP_FAILED);
	close(fd);
	memcpy(file, "written", 7);
	write_own(0);
	for (int i = 1; i <= CHILDREN; i++) {
		pids[i] = fork();
		must(pids[i] >= 0);
		if (!pids[i])
			child(i);
	}
	for (int i = 1; i <= CHILDREN + 1; i++)
		while (!reports[i].ready)
			pause_ms(2);
	/* The children go on sharing what they had of this, among themselves. */
	for (size_t page = 2000; page < 2100; page++)
		for (int word = 0; word < 512; word++)
			((uint64_t *)memory)[page * 512 + word] = pattern(2, page * 512 + word);
	reports[0].ready = 1;
	for (int i = 1; i <= CHILDREN + 1; i++)
		while (!reports[i].measured)
			pause_ms(2);
	measure(&private, &shared);
	must(private >= 100 * 4 && private < 2000 && shared > SIZE / 1024 / 2);
	for (int i = 1; i <= CHILDREN + 1; i++)
		must(reports[i].private < 2000 && reports[i].shared > SIZE / 1024 / 2);
	reports[0].private = private;
	reports[0].shared = shared;

	ready();

	look(0);
	for (int i = 1; i <= CHILDREN; i++)
		check(waitpid(pids[i], &status, 0) == pids[i] && !status, "child %d: %x", i, status);
}
