/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "all that the kernel says of the memory of a program of many kinds of it is the same");

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum { TEXT = 1 << 20 };

/* Touched before they are read into, so that nothing in them changes the answer. */
static char raw[TEXT], before[TEXT], after[TEXT];

/* Whether a line of smaps tells something that stays. Which pages of an object are mapped does not. */
static bool is_kept(const char *line, bool private)
{
	static const char *const fields[] = {
		"Size:", "KernelPageSize:", "Anonymous:", "Swap:", "THPeligible:", "ProtectionKey:", "VmFlags:",
	};

	if (private && (!strncmp(line, "Rss:", 4) || !strncmp(line, "Locked:", 7)))
		return true;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (!strncmp(line, fields[i], strlen(fields[i])))
			return true;
	return false;
}

/* What stays of /proc/self/smaps. */
static void look(char *into)
{
	size_t n = slurp("/proc/self/smaps", raw, TEXT - 1), length = 0;
	bool of_file = false, private = false, skipped = false;
	char *line, *save;

	raw[n] = 0;
	for (line = strtok_r(raw, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unsigned long start, end, inode;
		char prot[8], offset[32], device[32];
		int at = 0;

		if (sscanf(line, "%lx-%lx %7s %31s %31s %lu %n", &start, &end, prot, offset, device, &inode, &at) == 6) {
			/* What only we ourselves fill; and what has no name before its first object is made. */
			skipped = strstr(line, "[vvar") || strstr(line, "[vdso]") || strstr(line, "[vsyscall]") ||
				  (start <= (unsigned long)raw && (unsigned long)raw < end) ||
				  strstr(line, "[stack]");
			of_file = inode && !strstr(line, "/dev/zero") && !strstr(line, "[anon_shmem");
			private = !of_file && prot[3] == 'p';
			/* The number of an object of shared memory is another. */
			if (!skipped)
				length += sprintf(into + length, "%lx-%lx %s %s %s %s\n", start, end, prot, offset,
						  of_file ? device : "", line + at);
		} else if (!skipped && is_kept(line, private)) {
			char *dirty = strstr(line, " sd");

			/* Soft-dirty: it is new. */
			if (dirty && !strncmp(line, "VmFlags", 7))
				memmove(dirty, dirty + 3, strlen(dirty + 3) + 1);
			length += sprintf(into + length, "  %s\n", line);
		}
		must(length < TEXT - 4096);
	}
}

/* The first line in which they differ. */
static void compare(void)
{
	const char *a = before, *b = after, *heading = "", *line = before;

	while (*a && *a == *b) {
		if (*a == '\n')
			line = a + 1;
		if (a == line && *a != ' ')
			heading = line;
		a++, b++;
	}
	if (!*a && !*b)
		return;
	b -= a - line;
	check(false, "%.*s\nwas %.*s\nis  %.*s", (int)strcspn(heading, "\n"), heading, (int)strcspn(line, "\n"), line,
	      (int)strcspn(b, "\n"), b);
}

/* A place that has 4 MiB of nothing around it. */
static uint8_t *place(void)
{
	uint8_t *space = map(NULL, 8 << 20, PROT_NONE, ANONYMOUS);

	must(!munmap(space, 8 << 20));
	map(space, PAGE, PROT_NONE, ANONYMOUS | MAP_FIXED);
	return space + (4 << 20);
}

static void run(void)
{
	static const int advice[] = {
		MADV_DONTFORK, MADV_WIPEONFORK, MADV_DONTDUMP, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_SEQUENTIAL,
		MADV_RANDOM, MADV_MERGEABLE, MADV_FREE, MADV_COLD, MADV_PAGEOUT,
	};
	static const int flags[] = {
		0, MAP_NORESERVE, MAP_GROWSDOWN, MAP_LOCKED, MAP_POPULATE, MAP_STACK, MAP_NORESERVE | MAP_LOCKED,
		MAP_GROWSDOWN | MAP_NORESERVE,
	};
	static const int protections[] = {
		PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC,
		PROT_WRITE | PROT_EXEC, PROT_READ | PROT_WRITE | PROT_EXEC,
	};
	int file = open("mapped", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int readable = open("mapped", O_RDONLY | O_CLOEXEC);
	int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
	uint8_t *at, *again;

	must(file >= 0 && readable >= 0 && zero >= 0 && !ftruncate(file, 64 * PAGE));
	memset(raw, 1, TEXT);
	memset(before, 1, TEXT);
	memset(after, 1, TEXT);

	for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++) {
		at = map(place(), 4 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_FIXED);
		fill(at + PAGE, 2 * PAGE, i);
		madvise(at, 4 * PAGE, advice[i]);
	}
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		at = map(place(), 4 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_FIXED | flags[i]);
		fill(at + PAGE, PAGE, i);
	}
	/* Never writable, written and then not writable any more, with and without pages; private and shared. */
	for (size_t i = 0; i < sizeof(protections) / sizeof(protections[0]); i++)
		for (int shared = 0; shared < 2; shared++) {
			int kind = MAP_ANONYMOUS | MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE);

			map(place(), 4 * PAGE, protections[i], kind);
			at = map(place(), 4 * PAGE, PROT_READ | PROT_WRITE, kind);
			must(!mprotect(at, 4 * PAGE, protections[i]));
			at = map(place(), 4 * PAGE, PROT_READ | PROT_WRITE, kind);
			fill(at, PAGE, i);
			must(!mprotect(at, 4 * PAGE, protections[i]));
			kind ^= MAP_ANONYMOUS;
			at = mmap(place(), 4 * PAGE, protections[i], kind, file, PAGE);
			must(at != MAP_FAILED);
			at = mmap(place(), 4 * PAGE, PROT_READ | PROT_WRITE, kind, file, 2 * PAGE);
			must(at != MAP_FAILED);
			fill(at, PAGE, i);
			must(!mprotect(at, 4 * PAGE, protections[i]));
			/* What a descriptor for reading allows. */
			at = mmap(place(), 4 * PAGE, PROT_READ, kind, readable, 3 * PAGE);
			must(at != MAP_FAILED);
			at = mmap(place(), 4 * PAGE, PROT_READ | PROT_WRITE, kind, zero, PAGE);
			must(at != MAP_FAILED);
			fill(at, PAGE, i);
		}
	/* Beyond the end of the file; the file itself twice, one half behind the other. */
	at = mmap(place(), 8 * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, file, 60 * PAGE);
	must(at != MAP_FAILED);
	at = place();
	must(mmap(at, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0) != MAP_FAILED);
	must(mmap(at + 4 * PAGE, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0) != MAP_FAILED);
	/* An object of shared memory, in pieces, twice, and with a name. */
	at = map(place(), 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED);
	fill(at + 3 * PAGE, 2 * PAGE, 1);
	again = place();
	must(mremap(at, 0, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, again) == again);
	must(!munmap(at + 10 * PAGE, PAGE));
	prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, 4 * PAGE, "shared, with a name");
	at = map(place(), 16 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_FIXED);
	prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at + PAGE, 4 * PAGE, "private, with a name");
	prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at + 8 * PAGE, PAGE, "");
	/* Locked in all ways, also if there is nothing to lock yet. */
	at = map(place(), 8 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_FIXED);
	must(!mlock2(at, 2 * PAGE, MLOCK_ONFAULT) && !mlock(at + 4 * PAGE, 2 * PAGE));
	fill(at, PAGE, 2);
	at = mmap(place(), 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0);
	must(at != MAP_FAILED && !mlock2(at, 4 * PAGE, MLOCK_ONFAULT));
	/* Linux 6.11. */
	at = mmap(place(), 4 * PAGE, PROT_READ | PROT_WRITE, MAP_DROPPABLE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (at != MAP_FAILED)
		fill(at, PAGE, 3);
	/* Linux 6.13, of files 6.15; guards are no pages. */
	at = map(place(), 8 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_FIXED);
	fill(at, 8 * PAGE, 4);
	madvise(at + 2 * PAGE, 3 * PAGE, MADV_GUARD_INSTALL);
	at = mmap(place(), 8 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0);
	must(at != MAP_FAILED);
	madvise(at + 2 * PAGE, 3 * PAGE, MADV_GUARD_INSTALL);
	at = mmap(place(), 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);
	must(at != MAP_FAILED);
	madvise(at + PAGE, PAGE, MADV_GUARD_INSTALL);
	/* Linux 6.10. */
	at = map(place(), 8 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_FIXED);
	fill(at, PAGE, 5);
	must(!mprotect(at + PAGE, PAGE, PROT_NONE));
	syscall(SYS_mseal, at, 4 * PAGE, 0);
	close(file);
	close(readable);
	close(zero);
	look(before);
	look(before);

	ready();

	look(after);
	compare();
}
