/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a memfd is refused", .refused = "a file in memory");

static void run(void)
{
	int fd = memfd_create("case", 0);
	char c;

	must(fd >= 0 && pwrite(fd, "x", 1, 0) == 1);

	ready();
	check(pread(fd, &c, 1, 0) == 1, "%s", strerror(errno));
}
