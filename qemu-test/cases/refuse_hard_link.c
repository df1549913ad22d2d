/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a file that has lost its name, and has one elsewhere, is refused", .refused = "but the file has another name");

static void run(void)
{
	char path[PATH_MAX], other[PATH_MAX + 8], byte = 0;
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/name", case_dir);
	snprintf(other, sizeof(other), "%s/elsewhere", case_dir);
	must(mkdir(other, 0700) == 0);
	snprintf(other, sizeof(other), "%s/elsewhere/name", case_dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	must(fd >= 0 && pwrite(fd, "x", 1, 0) == 1 && !link(path, other) && !unlink(path));

	ready();
	check(pread(fd, &byte, 1, 0) == 1 && byte == 'x' && !fstat(fd, &st) && st.st_nlink == 1, "it is another file");
}
