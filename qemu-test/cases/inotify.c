/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

CASE(.what = "watches of inotify keep their numbers and masks, tell of what happens, and not of the restore");

#define HARD (IN_MODIFY | IN_MOVE_SELF | IN_EXCL_UNLINK | IN_ONESHOT)

/* A path in the directory of the case. */
static const char *at(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", case_dir, name);
	return path;
}

static int make(const char *name)
{
	int fd = open(at(name), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	must(fd >= 0);
	return fd;
}

static void move(const char *from, const char *to)
{
	char old[PATH_MAX];

	snprintf(old, sizeof(old), "%s/%s", case_dir, from);
	must(!rename(old, at(to)));
}

/* What the kernel says of the watches. */
static void show(int fd, char *text, int size)
{
	char path[64];
	ssize_t n;
	int info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	must(info >= 0);
	n = read(info, text, size - 1);
	must(n > 0);
	close(info);
	text[n] = 0;
	must(strstr(text, "inotify wd:"));
	memmove(text, strstr(text, "inotify wd:"), strlen(strstr(text, "inotify wd:")) + 1);
}

static bool is_empty(int fd)
{
	int bytes = -1;

	return !ioctl(fd, FIONREAD, &bytes) && bytes == 0;
}

/* Whether the next event is this one. It is read alone, as there is no room for two. */
static bool tells(int fd, int wd, uint32_t mask, const char *name)
{
	char buf[sizeof(struct inotify_event) + 16] = "";
	size_t size = sizeof(struct inotify_event) + (*name ? 16 : 0);
	struct inotify_event event;
	ssize_t n = read(fd, buf, size);

	memcpy(&event, buf, sizeof(event));
	if (n == (ssize_t)size && event.wd == wd && event.mask == mask && !strcmp(buf + sizeof(event), name))
		return true;
	dprintf(2, "read %zd (%s): watch %d, %#x, %s\n", n, n < 0 ? strerror(errno) : "", event.wd, event.mask,
		buf + sizeof(event));
	return false;
}

static void run(void)
{
	static char before[8192], after[8192];
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), blocking = inotify_init1(0), again, epoll, status;
	int file, renamed, once;
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 7 };
	pid_t child;

	must(fd >= 0 && blocking >= 0);
	must(!mkdir(at("watched"), 0700) && !mkdir(at("other"), 0700));
	file = make("watched/file");
	/* The restore opens it once more to map it. */
	must(write(file, "x", 1) == 1 && mmap(NULL, 1, PROT_READ, MAP_SHARED, file, 0) != MAP_FAILED);
	renamed = make("old");
	once = make("once");
	must(!symlink("/nowhere", at("link")));

	must(inotify_add_watch(fd, at("watched"), IN_ALL_EVENTS) == 1);
	/* Gaps, of one and of two. */
	must(inotify_add_watch(fd, at("other"), IN_CREATE) == 2);
	must(inotify_add_watch(fd, at("watched/file"), IN_MODIFY | IN_ATTRIB) == 3);
	must(!inotify_rm_watch(fd, 2) && tells(fd, 2, IN_IGNORED, ""));
	must(inotify_add_watch(fd, at("other"), IN_CREATE | IN_ONLYDIR) == 4);
	must(!inotify_rm_watch(fd, 4) && tells(fd, 4, IN_IGNORED, ""));
	must(inotify_add_watch(fd, at("other"), IN_CREATE | IN_ONLYDIR) == 5);
	must(!inotify_rm_watch(fd, 5) && tells(fd, 5, IN_IGNORED, ""));
	must(inotify_add_watch(fd, at("old"), IN_MODIFY) == 6);
	must(inotify_add_watch(fd, at("once"), HARD) == 7);
	must(inotify_add_watch(fd, at("link"), IN_ATTRIB | IN_DONT_FOLLOW) == 8);
	/* No event at all but the end of it. */
	must(inotify_add_watch(fd, at("other"), IN_ONLYDIR) == 9);
	must(inotify_add_watch(fd, at("images"), IN_CREATE) == -1);
	move("old", "other/new");
	must(is_empty(fd));

	/* A child waits for what the parent has as well, and twice. */
	must(inotify_add_watch(blocking, at("other"), IN_CREATE) == 1);
	again = dup(blocking);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	must(again >= 0 && epoll >= 0 && !epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	child = fork();
	must(child >= 0);
	if (!child) {
		check(tells(blocking, 1, IN_CREATE, "child"), "the child");
		_exit(case_failures ? 1 : 0);
	}
	await_call(child, SYS_read);
	show(fd, before, sizeof(before));

	ready();
	check(is_empty(fd) && is_empty(again), "there are events of the restore");
	show(fd, after, sizeof(after));
	check(!strcmp(before, after), "the watches were\n%sand are\n%s", before, after);
	check(fcntl(fd, F_GETFL) == O_NONBLOCK && fcntl(fd, F_GETFD) == FD_CLOEXEC, "flags %#x", fcntl(fd, F_GETFL));
	check(fcntl(again, F_GETFL) == 0 && fcntl(again, F_GETFD) == 0, "flags %#x", fcntl(again, F_GETFL));
	check(epoll_wait(epoll, &event, 1, 0) == 0, "epoll reports what is not there");

	/* In a directory, with the name; and the file there has a watch of its own. */
	must(write(file, "x", 1) == 1);
	check(epoll_wait(epoll, &event, 1, PATIENCE_MS) == 1 && event.data.u64 == 7, "epoll reports nothing");
	check(tells(fd, 1, IN_MODIFY, "file"), "a file that was written");
	check(tells(fd, 3, IN_MODIFY, ""), "the watch of the file itself");
	close(make("watched/new"));
	check(tells(fd, 1, IN_CREATE, "new") && tells(fd, 1, IN_OPEN, "new") && tells(fd, 1, IN_CLOSE_WRITE, "new"),
	      "a new file");
	must(!unlink(at("watched/new")));
	check(tells(fd, 1, IN_DELETE, "new"), "a deleted file");

	/* The one that was renamed, the one that tells once, the link. */
	must(write(renamed, "x", 1) == 1);
	check(tells(fd, 6, IN_MODIFY, ""), "the renamed file");
	must(write(once, "x", 1) == 1 && write(once, "x", 1) == 1);
	check(tells(fd, 7, IN_MODIFY, "") && tells(fd, 7, IN_IGNORED, ""), "the one that tells once");
	must(!lchown(at("link"), getuid(), getgid()));
	check(tells(fd, 8, IN_ATTRIB, ""), "the link");
	check(is_empty(fd), "there is more");

	/* It counts on, and still knows what it watches. */
	check(inotify_add_watch(fd, at("once"), IN_MODIFY) == 10, "the next number");
	check(inotify_add_watch(fd, at("watched/file"), IN_MODIFY) == 3, "a file that is watched already");
	check(!inotify_rm_watch(fd, 1) && tells(fd, 1, IN_IGNORED, ""), "remove one: %s", strerror(errno));

	close(make("other/child"));
	must(!unlink(at("other/child")));
	check(waitpid(child, &status, 0) == child && status == 0, "the child's status is %#x", status);
	check(is_empty(again), "what the child has read is still there");
}
