/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/inotify.h>
#include <sys/ioctl.h>

CASE(.what = "events of inotify that were not read are dropped if that is wanted, but not if the program goes on",
     .dump = "--lossy");

static void run(void)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), file, bytes = 0;
	bool left_running;
	const char *mode = getenv("CASE_MODE");
	char buf[64], path[PATH_MAX];
	struct inotify_event event;

	snprintf(path, sizeof(path), "%s/watched", case_dir);
	must(fd >= 0 && !mkdir(path, 0700));
	must(inotify_add_watch(fd, path, IN_CREATE | IN_MODIFY) == 1);
	strcat(path, "/file");
	file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	must(file >= 0 && write(file, "x", 1) == 1);
	must(!ioctl(fd, FIONREAD, &bytes) && bytes == 64);

	ready();
	/* Who was restored after another one had gone on finds what that has left. */
	snprintf(path, sizeof(path), "%s/went_on", case_dir);
	left_running = mode && !strcmp(mode, "running") && access(path, F_OK);
	leave_file("went_on");
	check(!ioctl(fd, FIONREAD, &bytes) && bytes == (left_running ? 64 : 0), "%d bytes", bytes);
	if (left_running)
		check(read(fd, buf, sizeof(buf)) == 64, "%s", strerror(errno));
	must(write(file, "x", 1) == 1);
	check(read(fd, buf, sizeof(buf)) == 32, "a new event does not come");
	memcpy(&event, buf, sizeof(event));
	check(event.wd == 1 && event.mask == IN_MODIFY && !strcmp(buf + sizeof(event), "file"),
	      "%d, %#x", event.wd, event.mask);
}
