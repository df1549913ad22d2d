/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

#include <sys/socket.h>

CASE(.what = "a memfd keeps name, contents, holes, size, mode, times, and the offsets and flags of its descriptions");

enum { SIZE = 64 * PAGE + 100 };

/* Sends a descriptor over a socket, and closes it. */
static void send_away(int socket, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = { 0 };
	struct iovec byte = { "x", 1 };
	struct msghdr message = {
		.msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
	};

	control.header = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	must(sendmsg(socket, &message, 0) == 1);
	close(fd);
}

static int receive(int socket)
{
	char bytes[CMSG_SPACE(sizeof(int))], c;
	struct iovec byte = { &c, 1 };
	struct msghdr message = {
		.msg_iov = &byte, .msg_iovlen = 1, .msg_control = bytes, .msg_controllen = sizeof(bytes),
	};
	int fd;

	if (recvmsg(socket, &message, 0) != 1 || !CMSG_FIRSTHDR(&message))
		return -1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return fd;
}

static int again(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags);
}

static void run(void)
{
	static const char name[] = "a name (deleted)\nof two lines";
	int fd = memfd_create(name, MFD_CLOEXEC), copy = dup(fd), empty = memfd_create("", 0);
	int vast, reader, appender, path_only, sockets[2], flying, status;
	const struct timespec times[2] = { { 1000000000, 1 }, { 1500000000, 999999999 } };
	char link[256] = "", expected[256], before[PAGE], after[PAGE];
	struct stat was, is, other;
	pid_t child;

	must(fd >= 0 && copy >= 0 && empty >= 0 && !ftruncate(fd, SIZE));
	/* Much more than there is room for, but nothing in it is far from the beginning. */
	vast = memfd_create("vast", 0);
	must(vast >= 0 && !ftruncate(vast, 1ll << 62) && pwrite(vast, "x", 1, 1ll << 40) == 1);
	fill(before, PAGE, 1);
	must(pwrite(fd, before, PAGE, 7 * PAGE) == PAGE && pwrite(fd, "end", 3, SIZE - 3) == 3);
	must(lseek(fd, 12345, SEEK_SET) == 12345);
	must(!fchown(fd, 12, 34) && !fchmod(fd, 0640));
	reader = again(fd, O_RDONLY | O_NONBLOCK);
	appender = again(fd, O_WRONLY | O_APPEND | O_CLOEXEC);
	path_only = again(fd, O_PATH);
	must(reader >= 0 && appender >= 0 && path_only >= 0 && lseek(reader, 7 * PAGE, SEEK_SET) == 7 * PAGE);
	/* One whose only descriptor is in flight. */
	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	flying = memfd_create("flying", 0);
	must(flying >= 0 && write(flying, "wings", 5) == 5);
	send_away(sockets[0], flying);
	must(!futimens(fd, times) && !fstat(fd, &was) && !stat("/", &other));
	child = fork();
	must(child >= 0);
	if (!child) {
		await_file("go");
		/* The offset is shared with the parent, who waits. */
		check(lseek(copy, 0, SEEK_CUR) == 12345, "offset in the child: %ld", lseek(copy, 0, SEEK_CUR));
		check(lseek(copy, 1, SEEK_CUR) == 12346, "%s", strerror(errno));
		_exit(!!case_failures);
	}

	ready();

	must(!fstat(fd, &is));
	check(is.st_size == SIZE && is.st_nlink == 0, "size %ld, %lu links", is.st_size, is.st_nlink);
	check(is.st_uid == 12 && is.st_gid == 34 && is.st_mode == was.st_mode, "mode %o of %u:%u", is.st_mode,
	      is.st_uid, is.st_gid);
	check(!memcmp(&is.st_atim, &times[0], sizeof(times[0])) && !memcmp(&is.st_mtim, &times[1], sizeof(times[1])),
	      "times %ld.%ld %ld.%ld", is.st_atim.tv_sec, is.st_atim.tv_nsec, is.st_mtim.tv_sec, is.st_mtim.tv_nsec);
	check(is.st_blocks == was.st_blocks, "%ld blocks, %ld before", is.st_blocks, was.st_blocks);
	check(lseek(reader, 0, SEEK_CUR) == 7 * PAGE, "offset of the reader: %ld", lseek(reader, 0, SEEK_CUR));
	check(read(reader, after, PAGE) == (ssize_t)PAGE && !memcmp(before, after, PAGE), "contents");
	check(pread(reader, after, PAGE, SIZE - 3) == 3 && !memcmp(after, "end", 3), "the end");
	check(lseek(reader, 0, SEEK_DATA) == 7 * PAGE, "data at %ld", lseek(reader, 0, SEEK_DATA));
	check(lseek(reader, 7 * PAGE, SEEK_HOLE) == 8 * PAGE, "hole at %ld", lseek(reader, 7 * PAGE, SEEK_HOLE));

	snprintf(expected, sizeof(expected), "/memfd:%s (deleted)", name);
	snprintf(after, sizeof(after), "/proc/self/fd/%d", fd);
	must(readlink(after, link, sizeof(link) - 1) > 0);
	check(!strcmp(link, expected), "name: %s", link);

	check(waitpid(child, &status, 0) == child && status == 0, "child: %x", status);
	check(lseek(fd, 0, SEEK_CUR) == 12346 && lseek(copy, 0, SEEK_CUR) == 12346, "offset %ld, of the copy %ld",
	      lseek(fd, 0, SEEK_CUR), lseek(copy, 0, SEEK_CUR));
	check(fcntl(fd, F_GETFD) == FD_CLOEXEC && fcntl(copy, F_GETFD) == 0, "close-on-exec");
	check((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR, "flags %o", fcntl(fd, F_GETFL));
	check((fcntl(reader, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == O_NONBLOCK, "flags %o", fcntl(reader, F_GETFL));
	check((fcntl(appender, F_GETFL) & (O_ACCMODE | O_APPEND)) == (O_WRONLY | O_APPEND), "flags %o",
	      fcntl(appender, F_GETFL));
	check(fcntl(path_only, F_GETFL) & O_PATH, "flags %o", fcntl(path_only, F_GETFL));
	check(!fstat(path_only, &other) && other.st_ino == is.st_ino && other.st_dev == is.st_dev, "another file");
	/* What one description writes, the others read. */
	check(write(appender, "!", 1) == 1 && pread(fd, after, 1, SIZE) == 1 && *after == '!', "appended");
	check(!fstat(empty, &is) && is.st_size == 0 && (is.st_mode & 0777) == 0777, "empty one: %ld bytes, mode %o",
	      is.st_size, is.st_mode);
	check(fcntl(empty, F_GET_SEALS) == F_SEAL_SEAL, "seals of one that has none: %x", fcntl(empty, F_GET_SEALS));
	check(!fstat(vast, &is) && is.st_size == 1ll << 62 && pread(vast, after, 1, 1ll << 40) == 1 && *after == 'x',
	      "the vast one: %lld bytes", (long long)is.st_size);
	flying = receive(sockets[1]);
	check(flying >= 0 && pread(flying, after, 9, 0) == 5 && !memcmp(after, "wings", 5), "the one in flight");
	check(lseek(flying, 0, SEEK_CUR) == 5, "its offset: %ld", lseek(flying, 0, SEEK_CUR));
}
