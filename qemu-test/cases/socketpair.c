/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

/* The empty datagram: once it was peeked, no dump can read it (refuse_unix_empty). */
CASE(.what = "Unix socket pairs keep messages with their boundaries, options and shutdown", .unasked = true);

static void run(void)
{
	static char buf[200000];
	struct timeval timeout = { 7, 0 };
	int stream[2], dgram[2], seq[2], half[2], widow[2], family[2], one = 1, status, room = 40000;
	struct ucred cred;
	socklen_t length;
	pid_t child;

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream) == 0);
	memset(buf, 's', 70000);
	must(send(stream[0], buf, 70000, 0) == 70000);
	must(send(stream[1], "back", 4, 0) == 4);
	must(setsockopt(stream[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) == 0);
	must(setsockopt(stream[1], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == 0);
	must(setsockopt(stream[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) == 0);

	must(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, dgram) == 0);
	must(send(dgram[0], "one", 3, 0) == 3 && send(dgram[0], "", 0, 0) == 0);
	must(send(dgram[0], "three", 5, 0) == 5);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, seq) == 0);
	must(send(seq[1], "first", 5, 0) == 5 && send(seq[1], "second", 6, 0) == 6);

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, half) == 0);
	must(send(half[0], "last", 4, 0) == 4 && shutdown(half[0], SHUT_WR) == 0);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, widow) == 0);
	must(send(widow[1], "will", 4, 0) == 4);
	close(widow[1]);

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, family) == 0);
	child = fork();
	must(child >= 0);
	if (child == 0) {
		close(family[0]);
		await_file("go");
		_exit(send(family[1], "child", 5, 0) == 5 ? 0 : 1);
	}
	close(family[1]);

	ready();
	check(recv(stream[1], buf, sizeof(buf), MSG_WAITALL | MSG_PEEK) == 70000, "the stream is shorter");
	check(recv(stream[1], buf, 70000, MSG_WAITALL) == 70000 && buf[0] == 's' && buf[69999] == 's',
	      "the stream's data");
	check(recv(stream[0], buf, 100, 0) == 4 && !memcmp(buf, "back", 4), "the data back");
	length = sizeof(one);
	check(getsockopt(stream[0], SOL_SOCKET, SO_PASSCRED, &one, &length) == 0 && one == 1, "SO_PASSCRED");
	length = sizeof(timeout);
	check(getsockopt(stream[1], SOL_SOCKET, SO_RCVTIMEO, &timeout, &length) == 0 && timeout.tv_sec == 7,
	      "SO_RCVTIMEO");
	length = sizeof(room);
	check(getsockopt(stream[1], SOL_SOCKET, SO_SNDBUF, &room, &length) == 0 && room == 80000,
	      "SO_SNDBUF is %d", room);
	length = sizeof(one);
	check(getsockopt(stream[0], SOL_SOCKET, SO_PEEK_OFF, &one, &length) == 0 && one == -1,
	      "SO_PEEK_OFF is %d", one);
	length = sizeof(cred);
	check(getsockopt(stream[0], SOL_SOCKET, SO_PEERCRED, &cred, &length) == 0 && cred.pid == getpid() &&
	      cred.uid == getuid(), "SO_PEERCRED is %d", cred.pid);
	check(fcntl(stream[0], F_GETFD) == FD_CLOEXEC, "close-on-exec is gone");

	check(recv(dgram[1], buf, 100, 0) == 3 && !memcmp(buf, "one", 3), "the first datagram");
	check(recv(dgram[1], buf, 100, 0) == 0, "the empty datagram");
	check(recv(dgram[1], buf, 100, 0) == 5 && !memcmp(buf, "three", 5), "the third datagram");
	check(recv(dgram[1], buf, 100, 0) == -1 && errno == EAGAIN, "a fourth datagram");
	check(recv(seq[0], buf, 2, 0) == 2 && !memcmp(buf, "fi", 2), "the first packet");
	check(recv(seq[0], buf, 100, 0) == 6 && !memcmp(buf, "second", 6), "the second packet");

	check(recv(half[1], buf, 100, 0) == 4 && recv(half[1], buf, 100, 0) == 0, "no end of half a stream");
	check(send(half[0], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE, "it can be written again");
	check(send(half[1], "x", 1, 0) == 1 && recv(half[0], buf, 1, 0) == 1, "the other half");
	check(recv(widow[0], buf, 100, 0) == 4 && recv(widow[0], buf, 100, 0) == 0, "no end without a peer");

	check(recv(family[0], buf, 100, 0) == 5 && !memcmp(buf, "child", 5), "nothing from the child");
	check(waitpid(child, &status, 0) == child && status == 0, "the child's status is %#x", status);
	check(recv(family[0], buf, 100, 0) == 0, "no end after the child's exit");
}
