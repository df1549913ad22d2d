/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/sysmacros.h>

CASE(.what = "stateless devices and files of /proc are open again");

static void run(void)
{
	int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDONLY);
	int full = open("/dev/full", O_WRONLY), random = open("/dev/urandom", O_RDONLY);
	int status = open("/proc/self/status", O_RDONLY), version = open("/proc/version", O_RDONLY);
	char buf[64] = "", expected[32];
	struct stat st;

	must(null >= 0 && zero >= 0 && full >= 0 && random >= 0 && status >= 0 && version >= 0);
	must(read(version, buf, 6) == 6);

	ready();
	check(write(null, "x", 1) == 1 && read(null, buf, 1) == 0, "/dev/null is another thing");
	memset(buf, 1, sizeof(buf));
	check(read(zero, buf, 8) == 8 && !buf[0] && !buf[7], "/dev/zero is another thing");
	check(write(full, "x", 1) == -1 && errno == ENOSPC, "/dev/full has room");
	check(read(random, buf, 8) == 8, "%s", strerror(errno));
	check(fstat(random, &st) == 0 && st.st_rdev == makedev(1, 9), "/dev/urandom is another device");
	check(read(version, buf, 8) == 8 && !memcmp(buf, "version ", 8), "read %.8s", buf);
	check(lseek(status, 0, SEEK_SET) == 0, "%s", strerror(errno));
	memset(buf, 0, sizeof(buf));
	snprintf(expected, sizeof(expected), "Name:\tdevnodes\n");
	check(read(status, buf, strlen(expected)) > 0 && !strcmp(buf, expected), "read %s", buf);
}
