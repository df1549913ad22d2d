/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/socket.h>
#include <sys/un.h>

CASE(.what = "a Unix listener is refused, and goes on", .refused = "a Unix socket that listens");

static void run(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", "listener");
	must(bind(listener, (void *)&address, sizeof(address)) == 0 && listen(listener, 1) == 0);

	ready();
	check(connect(client, (void *)&address, sizeof(address)) == 0, "%s", strerror(errno));
}
