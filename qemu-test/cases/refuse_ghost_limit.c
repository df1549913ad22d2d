/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a deleted file with more contents than the limit is refused, with the option that helps",
     .dump = "--ghost-limit 64K", .refused = "dump with --ghost-limit 69632");

static void run(void)
{
	char path[PATH_MAX], byte = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/gone", case_dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	must(fd >= 0 && !unlink(path) && !ftruncate(fd, 1 << 30));
	for (int page = 0; page < 17; page++)
		must(pwrite(fd, "x", 1, page << 12) == 1);

	ready();
	check(pread(fd, &byte, 1, 16 << 12) == 1 && byte == 'x', "%s", strerror(errno));
}
