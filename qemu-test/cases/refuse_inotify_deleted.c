/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/inotify.h>

CASE(.what = "a watch of a deleted file that somebody has open is refused by its name, and goes on",
     .refused = "watched/gone, which was deleted, and which somebody still has open");

static void run(void)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), file;
	char path[PATH_MAX];
	struct inotify_event event;

	snprintf(path, sizeof(path), "%s/watched", case_dir);
	must(fd >= 0 && !mkdir(path, 0700));
	strcat(path, "/gone");
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(file >= 0);
	must(inotify_add_watch(fd, path, IN_MODIFY) == 1);
	must(!unlink(path));

	ready();
	must(write(file, "x", 1) == 1);
	check(read(fd, &event, sizeof(event)) == sizeof(event), "no event: %s", strerror(errno));
	check(event.wd == 1 && event.mask == IN_MODIFY, "%d, %#x", event.wd, event.mask);
}
