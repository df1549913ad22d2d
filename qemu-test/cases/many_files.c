/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/resource.h>

CASE(.what = "a thousand open files are there again, each at its offset");

enum { COUNT = 1000 };

static void run(void)
{
	struct rlimit limit = { 4096, 4096 };
	char path[PATH_MAX];
	struct stat st, other;
	int fds[COUNT], i;

	must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	for (i = 0; i < COUNT; i++) {
		snprintf(path, sizeof(path), "%s/file%d", case_dir, i);
		fds[i] = open(path, O_RDWR | O_CREAT, 0600);
		must(fds[i] >= 0);
		must(ftruncate(fds[i], i + 1) == 0);
		must(lseek(fds[i], i, SEEK_SET) == i);
	}

	ready();
	for (i = 0; i < COUNT; i++) {
		snprintf(path, sizeof(path), "%s/file%d", case_dir, i);
		check(fstat(fds[i], &st) == 0 && stat(path, &other) == 0 && st.st_ino == other.st_ino,
		      "file %d is another one", i);
		check(lseek(fds[i], 0, SEEK_CUR) == i, "file %d is at another offset", i);
	}
}
