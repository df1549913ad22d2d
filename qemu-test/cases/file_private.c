/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "a private file mapping has the written pages and the file's others");

static void run(void)
{
	enum { SIZE = 32 * PAGE };
	int fd = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
	uint8_t *buffer = malloc(SIZE), *at, *no_access;
	char maps[512], flags[256];

	fill(buffer, SIZE, 1);
	must(fd >= 0 && write(fd, buffer, SIZE) == SIZE);
	at = mmap(NULL, SIZE - 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 4 * PAGE);
	no_access = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	must(at != MAP_FAILED && no_access != MAP_FAILED);
	fill(at + 3 * PAGE, PAGE, 50);
	fill(at + 20 * PAGE, 4 * PAGE, 51);
	fill(no_access, PAGE, 52);
	must(!mprotect(at, SIZE - 4 * PAGE, PROT_READ) && !mprotect(no_access, 2 * PAGE, PROT_NONE));
	close(fd);

	ready();

	for (int page = 0; page < 28; page++) {
		if (page == 3)
			check(!spoiled(at + 3 * PAGE, PAGE, 50), "written page 3");
		else if (page == 20)
			check(!spoiled(at + 20 * PAGE, 4 * PAGE, 51), "written pages 20..24");
		else if (page < 20 || page > 23)
			check(!memcmp(at + page * PAGE, buffer + (page + 4) * PAGE, PAGE),
			      "page %d is not the file's", page);
	}
	must(!mprotect(no_access, 2 * PAGE, PROT_READ));
	check(!spoiled(no_access, PAGE, 52), "written page without access");
	check(!memcmp(no_access + PAGE, buffer + PAGE, PAGE), "page of the file without access");
	check(smaps_of(at, maps, sizeof(maps), flags, sizeof(flags)) && strstr(maps, "r--p 00004000") &&
	      strstr(maps, "/mapped\n"), "mapping: %s", maps);
	/* The file itself was never written. */
	fd = open("mapped", O_RDONLY);
	must(fd >= 0 && read(fd, at = malloc(SIZE), SIZE) == SIZE);
	check(!memcmp(at, buffer, SIZE), "the file has changed");
}
