/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a pipe in packet mode is refused", .refused = "packet mode");

static void run(void)
{
	int fds[2];
	char buf[16];

	must(pipe2(fds, O_DIRECT) == 0 && write(fds[1], "ab", 2) == 2 && write(fds[1], "c", 1) == 1);

	ready();
	check(read(fds[0], buf, sizeof(buf)) == 2 && read(fds[0], buf, sizeof(buf)) == 1, "packets");
}
