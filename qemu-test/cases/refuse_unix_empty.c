/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/socket.h>

CASE(.what = "an empty datagram between others that was peeked before, which no peek shows again, is refused",
     .refused = "a message that cannot be read without taking it");

static void run(void)
{
	int fds[2], offset = 0, none = -1;
	char buf[100];

	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) == 0);
	must(send(fds[0], "one", 3, 0) == 3);
	must(send(fds[0], "", 0, 0) == 0);
	must(send(fds[0], "three", 5, 0) == 5);
	must(setsockopt(fds[1], SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset)) == 0);
	must(recv(fds[1], buf, sizeof(buf), MSG_PEEK) == 3);
	must(recv(fds[1], buf, sizeof(buf), MSG_PEEK) == 0);
	must(setsockopt(fds[1], SOL_SOCKET, SO_PEEK_OFF, &none, sizeof(none)) == 0);

	ready();
	check(recv(fds[1], buf, sizeof(buf), 0) == 3 && !memcmp(buf, "one", 3), "the first datagram");
	check(recv(fds[1], buf, sizeof(buf), 0) == 0, "the empty datagram");
	check(recv(fds[1], buf, sizeof(buf), 0) == 5 && !memcmp(buf, "three", 5), "the third datagram");
}
