/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "a program that has nearly as many mappings as it may has the same mappings");

/* What the restore itself needs, and what the check does: a few. */
enum { LEFT = 24 };

/* A program without libc's heap growing meanwhile: lines of maps, and a sum over those within a range. */
static size_t list(uint8_t *start, uint8_t *end, uint64_t *sum, size_t *within)
{
	static char text[1 << 16];
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	size_t length = 0, lines = 0;
	ssize_t got;

	must(fd >= 0);
	*sum = *within = 0;
	while ((got = read(fd, text + length, sizeof(text) - 1 - length)) > 0) {
		char *line = text, *next;

		text[length += got] = 0;
		for (; (next = strchr(line, '\n')); line = next + 1) {
			unsigned long from, to;
			char *at;

			lines++;
			from = strtoul(line, &at, 16);
			to = strtoul(at + 1, &at, 16);
			if (from < (unsigned long)start || to > (unsigned long)end)
				continue;
			++*within;
			*sum = (*sum * 31 + from) * 31 + to;
			for (int i = 1; i < 5; i++)
				*sum = *sum * 31 + at[i];
		}
		length -= line - text;
		memmove(text, line, length);
	}
	must(got == 0);
	close(fd);
	return lines;
}

static void run(void)
{
	char limit[32] = "";
	size_t most, pages, within, again;
	uint8_t *base, *end;
	uint64_t sum, after;

	slurp("/proc/sys/vm/max_map_count", limit, sizeof(limit) - 1);
	most = strtoul(limit, NULL, 10);
	if (most > 65530)
		most = 65530;
	base = map(NULL, most * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS);
	end = base + most * PAGE;
	/* With the page of vsyscalls, which is not counted. */
	pages = most - LEFT - list(base, end, &sum, &within);
	for (size_t i = 0; i < pages; i++) {
		if (i % 3 == 0)
			((uint64_t *)(base + i * PAGE))[7] = i;
		if (i % 2)
			must(!mprotect(base + i * PAGE, PAGE, i % 4 == 1 ? PROT_READ : PROT_NONE));
	}
	list(base, end, &sum, &within);
	/* The first and the last may be one with a neighbour that is not ours. */
	must(within + 2 >= pages);

	ready();

	list(base, end, &after, &again);
	check(again == within && after == sum, "%zu mappings before, %zu after", within, again);
	for (size_t i = 0; i < pages; i++) {
		if (i % 4 == 3)
			must(!mprotect(base + i * PAGE, PAGE, PROT_READ));
		check(((uint64_t *)(base + i * PAGE))[7] == (i % 3 ? 0 : i), "page %zu", i);
	}
}
