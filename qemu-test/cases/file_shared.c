/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "what is written to a shared file mapping reaches the file", .once = true);

static void run(void)
{
	enum { SIZE = 8 * PAGE };
	int fd = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
	int read_only = open("mapped", O_RDONLY);
	uint8_t *at, *view, *buffer = malloc(SIZE);

	must(fd >= 0 && read_only >= 0 && !ftruncate(fd, SIZE));
	at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 2 * PAGE);
	view = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, read_only, 0);
	must(at != MAP_FAILED && view != MAP_FAILED);
	fill(at, PAGE, 1);
	close(fd);
	close(read_only);

	ready();

	check(!spoiled(at, PAGE, 1), "what was written before");
	fill(at + PAGE, PAGE, 2);
	check(!spoiled(view + 3 * PAGE, PAGE, 2), "the other mapping does not see it");
	fd = open("mapped", O_RDONLY);
	must(fd >= 0 && read(fd, buffer, SIZE) == SIZE);
	check(!spoiled(buffer + 2 * PAGE, PAGE, 1), "what was written before is not in the file");
	check(!spoiled(buffer + 3 * PAGE, PAGE, 2), "what was written after is not in the file");
	check(mprotect(view, SIZE, PROT_READ | PROT_WRITE) == -1 && errno == EACCES,
	      "a mapping of a file that was open for reading became writable");
	check(!mprotect(at, PAGE, PROT_READ) && !mprotect(at, PAGE, PROT_READ | PROT_WRITE),
	      "a mapping of a file that was open for writing did not become writable again");
}
