/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/inotify.h>
#include <sys/ioctl.h>

CASE(.what = "events of inotify that were not read are refused, and can be read then",
     .refused = "an inotify instance with 2 to 20 events (320 bytes) not read yet");

/* Of 16 bytes each, and of 16 more for a short name. */
static void run(void)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), file, bytes = 0;
	char buf[4096], path[PATH_MAX];
	struct inotify_event event;

	snprintf(path, sizeof(path), "%s/watched", case_dir);
	must(fd >= 0 && !mkdir(path, 0700));
	must(inotify_add_watch(fd, path, IN_CREATE | IN_MODIFY) == 1);
	strcat(path, "/file");
	file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	must(file >= 0);
	must(inotify_add_watch(fd, path, IN_MODIFY) == 2);
	for (int i = 0; i < 6; i++)
		must(write(file, "x", 1) == 1);
	/* What is the same as the one before is no event of its own, but there are two watches. */
	must(!ioctl(fd, FIONREAD, &bytes) && bytes == 320);

	ready();
	check(read(fd, buf, sizeof(buf)) == 320, "there are others now");
	memcpy(&event, buf, sizeof(event));
	check(event.wd == 1 && event.mask == IN_CREATE && !strcmp(buf + sizeof(event), "file"),
	      "%d, %#x", event.wd, event.mask);
	check(read(fd, buf, sizeof(buf)) == -1 && errno == EAGAIN, "there are more");
	must(write(file, "x", 1) == 1);
	check(read(fd, buf, sizeof(buf)) == 48, "a new event does not come");
}
