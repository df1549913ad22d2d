/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/socket.h>

CASE(.what = "half a Unix socket pair is refused, and goes on", .refused = "connected to a program outside of the tree");

static void run(void)
{
	int fds[2];
	char c;

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	hold_outside(fds[0], fds[1]);

	ready();
	check(read(fds[0], &c, 1) == 1, "nothing comes out of the socket");
}
