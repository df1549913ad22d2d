/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <linux/netlink.h>
#include <sys/socket.h>

CASE(.what = "a netlink socket is refused", .refused = "a netlink socket");

static void run(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

	must(fd >= 0);

	ready();
	check(fcntl(fd, F_GETFD) == 0, "it is gone");
}
