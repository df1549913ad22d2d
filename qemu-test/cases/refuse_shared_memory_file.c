/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "shared anonymous memory that was opened as a file is refused", .refused = "shared memory that is no memfd");

static void run(void)
{
	uint64_t *at = map(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS), word = 0;
	char path[128];
	int fd;

	*at = 7;
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (long)at, (long)at + PAGE);
	fd = open(path, O_RDWR);
	must(fd >= 0);

	ready();
	check(pread(fd, &word, 8, 0) == 8 && word == 7, "%lu", word);
}
