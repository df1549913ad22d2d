/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a deleted file is refused", .refused = "a deleted file");

static void run(void)
{
	char path[PATH_MAX], c;
	int fd;

	snprintf(path, sizeof(path), "%s/gone", case_dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	must(fd >= 0 && pwrite(fd, "x", 1, 0) == 1 && unlink(path) == 0);

	ready();
	check(pread(fd, &c, 1, 0) == 1, "%s", strerror(errno));
}
