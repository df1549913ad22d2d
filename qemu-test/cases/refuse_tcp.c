/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <netinet/in.h>
#include <sys/socket.h>

CASE(.what = "a TCP connection is refused, and goes on", .refused = "a TCP connection");

static void run(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), server;
	char c;

	must(bind(listener, (void *)&address, length) == 0 && listen(listener, 1) == 0);
	must(getsockname(listener, (void *)&address, &length) == 0);
	must(connect(client, (void *)&address, length) == 0);
	server = accept(listener, NULL, NULL);
	must(server >= 0 && write(client, "x", 1) == 1);

	ready();
	check(read(server, &c, 1) == 1 && write(server, "y", 1) == 1 && read(client, &c, 1) == 1 && c == 0x79,
	      "the connection does not go on");
}
