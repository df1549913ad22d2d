/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a deleted file whose directory is gone too is made again in its file system");

static void run(void)
{
	char directory[PATH_MAX], inner[PATH_MAX + 8], path[PATH_MAX + 16], text[16] = "";
	struct stat was, is;
	int fd;

	snprintf(directory, sizeof(directory), "%s/outer", case_dir);
	snprintf(inner, sizeof(inner), "%s/inner", directory);
	snprintf(path, sizeof(path), "%s/file", inner);
	must((!mkdir(directory, 0700) || errno == EEXIST) && (!mkdir(inner, 0700) || errno == EEXIST));
	fd = open(path, O_RDWR | O_CREAT, 0600);
	must(fd >= 0 && write(fd, "contents", 8) == 8);
	must(!unlink(path) && !rmdir(inner) && !rmdir(directory) && !fstat(fd, &was));

	ready();

	check(!fstat(fd, &is) && is.st_dev == was.st_dev && is.st_nlink == 0 && is.st_size == 8, "%lu links, %ld bytes",
	      is.st_nlink, is.st_size);
	check(pread(fd, text, sizeof(text) - 1, 0) == 8 && !strcmp(text, "contents"), "%s", text);
	check(access(directory, F_OK) && errno == ENOENT, "the directory is there again");
}
