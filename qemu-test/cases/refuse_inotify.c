/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/inotify.h>

CASE(.what = "inotify is refused, and goes on", .refused = "an inotify instance");

static void run(void)
{
	int fd = inotify_init1(IN_NONBLOCK);
	char buf[512];

	must(fd >= 0 && inotify_add_watch(fd, case_dir, IN_CREATE) > 0);

	ready();
	check(read(fd, buf, sizeof(buf)) > 0, "it does not see the files that were made meanwhile");
}
