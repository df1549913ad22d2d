/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "open files keep offset, flags and close-on-exec", .once = true);

static int open_here(const char *name, int flags)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", case_dir, name);
	fd = open(path, flags, 0644);
	must(fd >= 0);
	return fd;
}

static void run(void)
{
	char buf[16] = "";
	int rw = open_here("rw", O_RDWR | O_CREAT | O_EXCL);
	int ro, append, path, dir, high, nonblock;
	struct stat st;

	must(write(rw, "0123456789", 10) == 10);
	must(lseek(rw, 4, SEEK_SET) == 4);
	ro = open_here("rw", O_RDONLY | O_CLOEXEC);
	must(lseek(ro, 7, SEEK_SET) == 7);
	append = open_here("log", O_WRONLY | O_CREAT | O_APPEND);
	must(write(append, "before\n", 7) == 7);
	path = open_here("rw", O_PATH);
	dir = open_here(".", O_RDONLY | O_DIRECTORY);
	nonblock = open_here("rw", O_RDONLY | O_NONBLOCK | O_NOATIME);
	high = fcntl(rw, F_DUPFD_CLOEXEC, 200);
	must(high >= 200);

	ready();
	check(read(rw, buf, 2) == 2 && !memcmp(buf, "45", 2), "read %s", buf);
	check(write(rw, "xy", 2) == 2, "%s", strerror(errno));
	check(lseek(ro, 0, SEEK_CUR) == 7, "offset %ld", (long)lseek(ro, 0, SEEK_CUR));
	check(pread(ro, buf, 10, 0) == 10 && !memcmp(buf, "012345xy89", 10), "read %.10s", buf);
	check(write(ro, "x", 1) == -1 && errno == EBADF, "a read-only file was written");
	check(lseek(append, 0, SEEK_SET) == 0 && write(append, "after\n", 6) == 6, "%s", strerror(errno));
	check(fstat(append, &st) == 0 && st.st_size == 13, "the log has %ld bytes", (long)st.st_size);
	check(fcntl(path, F_GETFL) & O_PATH, "flags %#o", fcntl(path, F_GETFL));
	check(openat(dir, "rw", O_RDONLY) >= 0, "%s", strerror(errno));
	check((fcntl(nonblock, F_GETFL) & (O_NONBLOCK | O_NOATIME)) == (O_NONBLOCK | O_NOATIME),
	      "flags %#o", fcntl(nonblock, F_GETFL));
	check(fcntl(rw, F_GETFD) == 0, "close-on-exec of %d", rw);
	check(fcntl(ro, F_GETFD) == FD_CLOEXEC, "no close-on-exec of %d", ro);
	check(fcntl(high, F_GETFD) == FD_CLOEXEC, "no close-on-exec of %d", high);
	check(lseek(high, 0, SEEK_CUR) == 8, "the duplicate is at %ld", (long)lseek(high, 0, SEEK_CUR));
	check(open("/dev/null", O_RDONLY) == nonblock + 2, "the lowest free number changed");
}
