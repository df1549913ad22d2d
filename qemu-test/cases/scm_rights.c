/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/eventfd.h>
#include <sys/socket.h>

CASE(.what = "descriptors in flight arrive, with the bytes that they were sent with");

static void send_fds(int socket, const char *text, const int *fds, int count)
{
	union {
		char bytes[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr header;
	} control = {};
	struct iovec iov = { (void *)text, strlen(text) };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = CMSG_SPACE(count * sizeof(int)),
	};

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
	must(sendmsg(socket, &message, 0) == (ssize_t)strlen(text));
}

/* Receives up to `length` bytes; returns how many descriptors came. */
static int receive(int socket, char *buf, size_t length, int *fds, ssize_t *got)
{
	union {
		char bytes[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr header;
	} control = {};
	struct iovec iov = { buf, length };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	int count;

	*got = recvmsg(socket, &message, MSG_DONTWAIT);
	c = CMSG_FIRSTHDR(&message);
	if (*got < 0 || !c || c->cmsg_type != SCM_RIGHTS)
		return 0;
	count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(c), count * sizeof(int));
	return count;
}

static void run(void)
{
	int stream[2], dgram[2], inner[2], pair[2], fds[4], file, lonely;
	char path[PATH_MAX], buf[64];
	uint64_t n;
	ssize_t got;

	snprintf(path, sizeof(path), "%s/sent", case_dir);
	file = open(path, O_RDWR | O_CREAT, 0600);
	must(file >= 0 && ftruncate(file, 100) == 0);
	lonely = eventfd(42, 0);
	must(lonely >= 0);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0);
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, dgram) == 0);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, inner) == 0);
	must(pipe(pair) == 0 && write(pair[1], "piped", 5) == 5);

	/* Bytes before, bytes with two descriptors, bytes after. */
	must(send(stream[0], "before", 6, 0) == 6);
	send_fds(stream[0], "with", (int[]){ file, lonely }, 2);
	must(send(stream[0], "after", 5, 0) == 5);
	close(lonely);
	/* A socket in flight, with a message of its own that carries a pipe. */
	send_fds(inner[0], "deep", pair, 2);
	send_fds(dgram[0], "socket", &inner[1], 1);
	close(inner[1]);
	close(pair[0]);
	close(pair[1]);

	ready();
	check(receive(stream[1], buf, 6, fds, &got) == 0 && got == 6 && !memcmp(buf, "before", 6),
	      "descriptors came too early");
	check(receive(stream[1], buf, 1, fds, &got) == 2 && got == 1 && buf[0] == 'w',
	      "descriptors did not come");
	check(lseek(file, 5, SEEK_SET) == 5 && lseek(fds[0], 0, SEEK_CUR) == 5,
	      "what came is not what was sent");
	check(read(fds[1], &n, 8) == 8 && n == 42, "the eventfd in flight");
	check(receive(stream[1], buf, 64, fds, &got) == 0 && got == 8 && !memcmp(buf, "ithafter", 8),
	      "%zd bytes after it", got);

	check(receive(dgram[1], buf, 64, fds, &got) == 1 && got == 6, "the socket in flight");
	inner[1] = fds[0];
	check(receive(inner[1], buf, 64, fds, &got) == 2 && got == 4 && !memcmp(buf, "deep", 4),
	      "the pipe in flight in a socket in flight");
	check(read(fds[0], buf, 64) == 5 && !memcmp(buf, "piped", 5), "the pipe's contents");
	close(fds[1]);
	check(read(fds[0], buf, 64) == 0, "somebody else has its writing end");
	check(send(inner[0], "!", 1, 0) == 1 && recv(inner[1], buf, 1, 0) == 1, "the pair is cut");
}
