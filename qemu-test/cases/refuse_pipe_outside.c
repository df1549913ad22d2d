/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a pipe to a program outside of the tree is refused, and goes on", .refused = "held by a program outside of the tree");

static void run(void)
{
	int fds[2];
	char c;

	must(pipe(fds) == 0);
	hold_outside(fds[0], fds[1]);

	ready();
	check(read(fds[0], &c, 1) == 1, "nothing comes out of the pipe");
}
