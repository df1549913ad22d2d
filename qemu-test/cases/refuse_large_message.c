// SPDX-License-Identifier: Apache-2.0 OR MIT

#include "case.h"

#include <sys/socket.h>

CASE(.what = "a queue that one call of the restore could not fill again is refused, and nothing of it is lost",
     .refused = "data");

#define SIZE (8u << 20)

static void run(void)
{
	static char buffer[1 << 16];
	int size = SIZE, pair[2];
	size_t sent = 0, got = 0;
	ssize_t n;

	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair));
	must(!setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)));
	memset(buffer, 'x', sizeof(buffer));
	while (sent < SIZE && (n = write(pair[0], buffer, sizeof(buffer))) > 0)
		sent += n;
	must(sent >= SIZE / 2 + SIZE / 8);
	ready();
	while ((n = read(pair[1], buffer, sizeof(buffer))) > 0)
		got += n;
	check(got == sent, "%zu bytes of %zu", got, sent);
}
