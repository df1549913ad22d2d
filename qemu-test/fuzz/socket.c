// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * A play about sockets: threads of one process use a table of sockets of all
 * kinds, connect, accept, send, receive, shut down and close them, while others
 * ask for their state and contents. Beside that, streams whose bytes are
 * compared while they are asked about, and sockets that nobody else uses, of
 * which each answer is known.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/uio.h>

#include "fuzz.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP	262
#endif

#define SLOTS		32
#define FIRST_FD	200
#define LISTENERS	6	/* the first slots */
#define PORT		7000
#define BUFFER		(64 << 10)

static socklen_t address_of(unsigned int slot, int family, struct sockaddr_storage *address)
{
	struct sockaddr_in *in = (void *)address;
	struct sockaddr_in6 *in6 = (void *)address;
	struct sockaddr_un *un = (void *)address;

	memset(address, 0, sizeof(*address));
	address->ss_family = family;
	switch (family) {
	case AF_INET:
		in->sin_port = htons(PORT + slot);
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return sizeof(*in);
	case AF_INET6:
		in6->sin6_port = htons(PORT + slot);
		in6->sin6_addr = in6addr_loopback;
		return sizeof(*in6);
	default:
		snprintf(un->sun_path + 1, sizeof(un->sun_path) - 1, "fuzz%u", slot);
		return sizeof(sa_family_t) + 1 + strlen(un->sun_path + 1);
	}
}

/* A socket in a slot; whatever was there is closed by that. */
static void put(unsigned int slot, int fd)
{
	if (fd < 0)
		return;
	if (fd >= FIRST_FD) {
		close(fd);
		return;
	}
	dup3(fd, FIRST_FD + slot, O_CLOEXEC);
	close(fd);
}

static int any_fd(void)
{
	if (chance(3))
		return PICK(-1, device, 0, 1, FIRST_FD + SLOTS);
	return FIRST_FD + below(SLOTS);
}

static int family_of_listener(unsigned int slot)
{
	static const int families[LISTENERS] = { AF_INET, AF_INET6, AF_UNIX, AF_UNIX, AF_INET, AF_UNIX };

	return families[slot];
}

static int type_of_listener(unsigned int slot)
{
	return slot == 3 ? SOCK_SEQPACKET : SOCK_STREAM;
}

static void make_listener(unsigned int slot)
{
	struct sockaddr_storage address;
	int family = family_of_listener(slot), one = 1;
	socklen_t size = address_of(slot, family, &address);
	int fd = socket(family, type_of_listener(slot) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (family != AF_UNIX && chance(30))
		setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &one, sizeof(one));
	if (bind(fd, (void *)&address, size) || listen(fd, PICK(0, 1, 5, 100))) {
		close(fd);
		return;
	}
	put(slot, fd);
}

static void make_client(unsigned int slot)
{
	unsigned int to = below(LISTENERS);
	struct sockaddr_storage address;
	int family = family_of_listener(to);
	socklen_t size = address_of(to, family, &address);
	int fd = socket(family, type_of_listener(to) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	connect(fd, (void *)&address, size);
	if (chance(70))
		send(fd, "hello", 1 + below(5), MSG_NOSIGNAL | MSG_DONTWAIT);
	put(slot, fd);
}

static void make_other(unsigned int slot)
{
	struct sockaddr_storage address;
	int fds[2], fd, family;
	socklen_t size;

	switch (below(5)) {
	case 0:
		if (!socketpair(AF_UNIX, PICK(SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET) |
				SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds)) {
			put(slot, fds[0]);
			put(LISTENERS + below(SLOTS - LISTENERS), fds[1]);
		}
		break;
	case 1:
	case 2:
		family = PICK(AF_INET, AF_INET6);
		fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, PICK(0, 0, IPPROTO_UDPLITE));
		size = address_of(slot, family, &address);
		if (!bind(fd, (void *)&address, size) && chance(70)) {
			size = address_of(chance(50) ? slot : LISTENERS + below(SLOTS - LISTENERS),
					  family, &address);
			connect(fd, (void *)&address, size);
		}
		put(slot, fd);
		break;
	default:
		switch (below(7)) {
		case 0:
			fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
			break;
		case 1:
			fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
			break;
		case 2:
			fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
			break;
		case 3:
			fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);
			break;
		case 4:
			fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
			break;
		case 5:
			/* Bound, or not even that. */
			family = PICK(AF_INET, AF_INET6, AF_UNIX);
			fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
			size = address_of(slot, family, &address);
			if (chance(50))
				bind(fd, (void *)&address, size);
			break;
		default:
			fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMPV6);
			break;
		}
		put(slot, fd);
		break;
	}
}

static void send_rights(int fd, int right)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 'r';
	struct iovec iov = { &byte, chance(80) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &right, sizeof(int));
	sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void receive_rights(int fd)
{
	char control[CMSG_SPACE(4 * sizeof(int))], buf[64];
	struct iovec iov = { buf, sizeof(buf) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;

	if (recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
		return;
	for (cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
		int fds[4], n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS || n > 4)
			continue;
		memcpy(fds, CMSG_DATA(cmsg), n * sizeof(int));
		for (int i = 0; i < n; i++)
			put(LISTENERS + below(SLOTS - LISTENERS), fds[i]);
	}
}

static void options(int fd)
{
	int value = below(2), offset = below(3) - 1, size = 1 << below(20);

	switch (below(8)) {
	case 0:
		setsockopt(fd, IPPROTO_UDP, UDP_CORK, &value, sizeof(value));
		break;
	case 1:
		setsockopt(fd, IPPROTO_TCP, TCP_CORK, &value, sizeof(value));
		break;
	case 2:
		setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset));
		break;
	case 3:
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
		break;
	case 4:
		setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &value, sizeof(value));
		break;
	case 5:
		setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &value, sizeof(value));
		break;
	case 6:
		setsockopt(fd, IPPROTO_UDP, UDP_GRO, &value, sizeof(value));
		break;
	case 7:
		setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &value, sizeof(value));
		break;
	}
}

static void use(void)
{
	static __thread char buf[BUFFER];
	unsigned int slot = LISTENERS + below(SLOTS - LISTENERS);
	int fd = any_fd(), listener = below(LISTENERS);
	struct sockaddr_storage address;
	struct sockaddr nothing = { .sa_family = AF_UNSPEC };
	socklen_t size;

	if (fd < FIRST_FD)
		return;
	switch (below(16)) {
	case 0:
		make_client(slot);
		break;
	case 1:
		make_other(slot);
		break;
	case 2:
		put(slot, accept4(FIRST_FD + listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
		break;
	case 3:
		if (chance(30))
			close(FIRST_FD + listener);
		make_listener(listener);
		break;
	case 4:
		shutdown(fd, PICK(SHUT_RD, SHUT_WR, SHUT_RDWR));
		break;
	case 5:
		if (chance(50))
			close(FIRST_FD + slot);
		break;
	case 6:
		connect(fd, &nothing, sizeof(nothing));
		break;
	case 7:
		options(fd);
		break;
	case 8:
		send_rights(fd, any_fd());
		break;
	case 9:
		receive_rights(fd);
		break;
	case 10:
		send(fd, buf, 1, MSG_OOB | MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case 11:
		size = address_of(slot, AF_INET, &address);
		sendto(fd, buf, below(2000), MSG_DONTWAIT | MSG_NOSIGNAL | PICK(0, MSG_MORE),
		       (void *)&address, size);
		break;
	case 12:
	case 13:
		recv(fd, buf, below(sizeof(buf)), MSG_DONTWAIT | PICK(0, 0, MSG_PEEK, MSG_OOB));
		break;
	default:
		send(fd, buf, chance(80) ? below(3000) : below(sizeof(buf)),
		     MSG_DONTWAIT | MSG_NOSIGNAL | PICK(0, 0, MSG_MORE));
		break;
	}
}

static void check_messages(const struct ckpt_messages *arg, const char *buf)
{
	uint64_t at = 0, end = arg->size;

	/* Which of them are missing it does not say. */
	if (arg->size > arg->len)
		return;
	while (at + sizeof(struct ckpt_message) <= end) {
		struct ckpt_message message;
		uint64_t padded;

		memcpy(&message, buf + at, sizeof(message));
		at += sizeof(message);
		padded = (message.len + 7ULL) & ~7ULL;
		if (message.pad || message.len > 16U << 20) {
			failure("MESSAGES: a message of %u bytes, pad %u", message.len, message.pad);
			return;
		}
		for (uint64_t i = message.len; i < padded && at + i < end; i++)
			if (buf[at + i]) {
				failure("MESSAGES: what a message is filled up with is not zero");
				return;
			}
		at += padded;
	}
	if (at != arg->size)
		failure("MESSAGES: %llu bytes, of which messages take %llu",
			(unsigned long long)arg->size, (unsigned long long)at);
}

static void check_tcp(const struct ckpt_tcp *arg)
{
	if (arg->state < 1 || arg->state > TCP_CLOSING + 2)
		failure("TCP: state %u", arg->state);
	if (arg->urgent > 1)
		failure("TCP: urgent %u", arg->urgent);
	/* One for a SYN or FIN that is counted and is no byte. */
	if (arg->write_seq - arg->snd_una - arg->send_bytes > 2 && arg->state != TCP_LISTEN &&
	    arg->state != TCP_CLOSE)
		failure("TCP in state %u: snd_una %u, write_seq %u, %u bytes not acknowledged",
			arg->state, arg->snd_una, arg->write_seq, arg->send_bytes);
}

static void ask(int fd)
{
	static __thread char first[BUFFER], second[BUFFER];
	int error;

	if (chance(50)) {
		struct ckpt_tcp arg = {
			.fd = fd,
			.child = chance(40) ? 1 + below(6) : 0,
			.recv_buf = (uintptr_t)first, .recv_len = below(2) * below(sizeof(first)),
			.send_buf = (uintptr_t)second, .send_len = below(2) * below(sizeof(second)),
		};

		error = request(CKPT_NR_TCP, &arg);
		if (!error)
			check_tcp(&arg);
	} else {
		struct ckpt_messages arg = {
			.fd = fd,
			.child = chance(40) ? 1 + below(6) : 0,
			.buf = (uintptr_t)first, .len = below(2) * below(sizeof(first)),
		};

		error = request(CKPT_NR_MESSAGES, &arg);
		if (!error)
			check_messages(&arg, first);
	}
}

static void *uses(void *number)
{
	caller_begin(shared->round_seed, 100 + (intptr_t)number);
	while (going())
		use();
	return NULL;
}

static void *asks(void *number)
{
	caller_begin(shared->round_seed, 200 + (intptr_t)number);
	while (going())
		ask(any_fd());
	return NULL;
}

static void table(void)
{
	pthread_t thread[4];

	for (unsigned int i = 0; i < LISTENERS; i++)
		make_listener(i);
	for (intptr_t i = 0; i < (intptr_t)ARRAY_SIZE(thread); i++)
		if (pthread_create(&thread[i], NULL, i % 2 ? asks : uses, (void *)i))
			return;
	while (going())
		if (chance(50))
			use();
		else
			ask(any_fd());
	/* Threads that are in the midst of a call when the process ends. */
	if (chance(50))
		_exit(0);
	for (unsigned int i = 0; i < ARRAY_SIZE(thread); i++)
		pthread_join(thread[i], NULL);
}

/* ---- A stream that arrives as it was sent, whoever asks ---- */

static uint8_t pattern(uint64_t i)
{
	return i * 7 + (i >> 8) * 13 + (i >> 16) * 29;
}

static bool connected(int family, int type, int fds[2])
{
	struct sockaddr_storage address = { .ss_family = family };
	socklen_t size = sizeof(address);
	int listener;

	if (family == AF_UNIX)
		return !socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds);
	listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fds[0] = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listen(listener, 1) || getsockname(listener, (void *)&address, &size) ||
	    connect(fds[0], (void *)&address, size))
		return false;
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	return fds[1] >= 0;
}

static int stream_fds[2];

static void *stream_writer(void *arg)
{
	static uint8_t buf[3000];
	uint64_t sent = 0;
	ssize_t n;

	(void)arg;
	random_begin(shared->round_seed, 300);
	do {
		size_t size = 1 + below(sizeof(buf));

		for (size_t i = 0; i < size; i++)
			buf[i] = pattern(sent + i);
		n = send(stream_fds[0], buf, size, MSG_NOSIGNAL);
		if (n > 0)
			sent += n;
	} while (n > 0 && going());
	shutdown(stream_fds[0], SHUT_WR);
	return (void *)(uintptr_t)sent;
}

static void *stream_asker(void *arg)
{
	(void)arg;
	caller_begin(shared->round_seed, 301);
	while (going())
		ask(stream_fds[below(2)]);
	return NULL;
}

static void stream(void)
{
	static uint8_t buf[5000];
	pthread_t writer, asker;
	uint64_t done = 0;
	void *sent;
	ssize_t n;

	if (!connected(PICK(AF_INET, AF_INET6, AF_UNIX), SOCK_STREAM, stream_fds)) {
		failure("no stream: %s", strerror(errno));
		return;
	}
	if (pthread_create(&writer, NULL, stream_writer, NULL) ||
	    pthread_create(&asker, NULL, stream_asker, NULL))
		return;
	while ((n = recv(stream_fds[1], buf, 1 + below(sizeof(buf)), 0)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != pattern(done + i)) {
				failure("byte %llu of a stream is not what was sent",
					(unsigned long long)(done + i));
				return;
			}
		done += n;
		atomic_fetch_add(&shared->checks, 1);
	}
	pthread_join(writer, &sent);
	if (done != (uintptr_t)sent)
		failure("%llu bytes of a stream have arrived, %llu were sent",
			(unsigned long long)done, (unsigned long long)(uintptr_t)sent);
	pthread_join(asker, NULL);
}

/* ---- Sockets that nobody else uses ---- */

static void known_tcp(void)
{
	static uint8_t in[BUFFER], out[8000];
	struct ckpt_tcp arg, again;
	size_t size = 1 + below(sizeof(out));
	uint64_t cookie = 0;
	socklen_t length = sizeof(cookie);
	bool ends = chance(30);
	int fds[2], error;
	int64_t until;

	if (!connected(PICK(AF_INET, AF_INET6), SOCK_STREAM, fds))
		return;
	for (size_t i = 0; i < size; i++)
		out[i] = pattern(i);
	if (send(fds[0], out, size, 0) != (ssize_t)size)
		failure("a new connection takes no %zu bytes", size);
	if (ends)
		shutdown(fds[0], SHUT_WR);
	until = now_ns() + 10 * NSEC;
	do {
		memset(&arg, 0, sizeof(arg));
		arg.fd = fds[1];
		arg.recv_buf = (uintptr_t)in;
		arg.recv_len = sizeof(in);
		error = request_plain(CKPT_NR_TCP, &arg);
		/* Loopback takes a moment to deliver. */
		if (error || (arg.recv_bytes == size && (!ends || arg.state == TCP_CLOSE_WAIT)))
			break;
		sleep_us(1000);
	} while (now_ns() < until);
	if (error == EPERM && shared->user)
		goto out;
	again = arg;
	error = error ? error : request_plain(CKPT_NR_TCP, &again);
	getsockopt(fds[1], SOL_SOCKET, SO_COOKIE, &cookie, &length);
	if (error || arg.recv_bytes != size || memcmp(in, out, size))
		failure("TCP of %zu bytes that were sent: %s, %u bytes%s", size, strerror(error),
			arg.recv_bytes, memcmp(in, out, size) ? ", not the same" : "");
	else if (again.recv_bytes != size || again.copied_seq != arg.copied_seq ||
		 again.rcv_nxt != arg.rcv_nxt || again.snd_una != arg.snd_una ||
		 again.write_seq != arg.write_seq || again.cookie != arg.cookie)
		failure("TCP says something else the second time");
	else if (arg.cookie != cookie)
		failure("TCP: cookie %llu, SO_COOKIE %llu", (unsigned long long)arg.cookie,
			(unsigned long long)cookie);
	else if (arg.rcv_nxt - arg.copied_seq - size != ends)
		failure("TCP: copied_seq %u, rcv_nxt %u, %zu bytes%s", arg.copied_seq, arg.rcv_nxt,
			size, ends ? " and a FIN" : "");
	memset(in, 0, size);
	if (recv(fds[1], in, size, MSG_WAITALL) != (ssize_t)size || memcmp(in, out, size))
		failure("what was sent cannot be read after TCP has looked at it");
out:
	close(fds[0]);
	close(fds[1]);
}

static void known_messages(void)
{
	static char buf[BUFFER], text[3000];
	unsigned int sizes[8], count = 1 + below(8), seen = 0;
	int type = PICK(SOCK_DGRAM, SOCK_SEQPACKET), fds[2], error;
	struct ckpt_messages arg;
	uint64_t at = 0;

	if (!connected(AF_UNIX, type, fds))
		return;
	for (unsigned int i = 0; i < count; i++) {
		sizes[i] = type == SOCK_DGRAM && chance(20) ? 0 : 1 + below(sizeof(text) - 1);
		memset(text, 'a' + i, sizes[i]);
		if (send(fds[0], text, sizes[i], MSG_DONTWAIT) != (ssize_t)sizes[i])
			failure("a new pair takes no %u bytes", sizes[i]);
	}
	memset(&arg, 0, sizeof(arg));
	arg.fd = fds[1];
	arg.buf = (uintptr_t)buf;
	arg.len = sizeof(buf);
	error = request_plain(CKPT_NR_MESSAGES, &arg);
	if (error == EPERM && shared->user)
		goto out;
	if (error)
		failure("MESSAGES of a pair: %s", strerror(error));
	while (!error && at < arg.size && seen < count) {
		struct ckpt_message message;

		memcpy(&message, buf + at, sizeof(message));
		at += sizeof(message);
		memset(text, 'a' + seen, sizeof(text));
		if (message.len != sizes[seen] || memcmp(buf + at, text, message.len) || message.fds)
			failure("MESSAGES: message %u has %u bytes, %u were sent", seen, message.len,
				sizes[seen]);
		at += (message.len + 7) & ~7U;
		seen++;
	}
	if (!error && (seen != count || at != arg.size))
		failure("MESSAGES: %u messages of %u, %llu bytes of %llu", seen, count,
			(unsigned long long)at, (unsigned long long)arg.size);
	for (unsigned int i = 0; i < count; i++)
		if (recv(fds[1], buf, sizeof(buf), MSG_DONTWAIT) != (ssize_t)sizes[i])
			failure("message %u is not there after MESSAGES has looked at it", i);
out:
	close(fds[0]);
	close(fds[1]);
}

/* Connections that nobody has accepted: what they hold stays theirs, and the order is that of accept(). */
static void known_children(void)
{
	struct sockaddr_storage address = { .ss_family = chance(50) ? AF_INET : AF_UNIX };
	bool tcp = address.ss_family == AF_INET;
	socklen_t size = tcp ? sizeof(struct sockaddr_in) : sizeof(sa_family_t);
	int listener = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int clients[4], error = 0;
	unsigned int count = 1 + below(ARRAY_SIZE(clients));
	char buf[256], text[] = "0 is what the client says";
	int64_t until = now_ns() + 10 * NSEC;

	if (bind(listener, (void *)&address, size) || listen(listener, 10)) {
		close(listener);
		return;
	}
	size = sizeof(address);
	getsockname(listener, (void *)&address, &size);
	for (unsigned int i = 0; i < count; i++) {
		clients[i] = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		text[0] = '0' + i;
		if (connect(clients[i], (void *)&address, size) ||
		    send(clients[i], text, sizeof(text), 0) != sizeof(text))
			failure("a client cannot connect: %s", strerror(errno));
	}
	for (unsigned int i = 0; i <= count; i++) {
		text[0] = '0' + i;
		memset(buf, 0, sizeof(buf));
		if (tcp) {
			struct ckpt_tcp arg;

			do {
				memset(&arg, 0, sizeof(arg));
				arg.fd = listener;
				arg.child = i + 1;
				arg.recv_buf = (uintptr_t)buf;
				arg.recv_len = sizeof(buf);
				error = request_plain(CKPT_NR_TCP, &arg);
				if (error == EPERM || i == count ||
				    (!error && arg.recv_bytes == sizeof(text)))
					break;
				sleep_us(1000);
			} while (now_ns() < until);
		} else {
			struct ckpt_messages arg = {
				.fd = listener, .child = i + 1, .buf = (uintptr_t)buf,
				.len = sizeof(buf),
			};

			error = request_plain(CKPT_NR_MESSAGES, &arg);
			memmove(buf, buf + sizeof(struct ckpt_message),
				sizeof(buf) - sizeof(struct ckpt_message));
		}
		if (error == EPERM && shared->user)
			break;
		if (i == count && error != ENODATA)
			failure("there is connection %u of %u that were not accepted: %s", i + 1,
				count, strerror(error));
		if (i < count && (error || memcmp(buf, text, sizeof(text))))
			failure("connection %u of %u that were not accepted (%s): %s, %.30s", i + 1,
				count, tcp ? "TCP" : "Unix", strerror(error), buf);
	}
	for (unsigned int i = 0; i < count; i++) {
		int fd = accept(listener, NULL, NULL);

		text[0] = '0' + i;
		if (fd < 0 || recv(fd, buf, sizeof(buf), 0) != sizeof(text) ||
		    memcmp(buf, text, sizeof(text)))
			failure("accepted connection %u of %u has not what was sent", i + 1, count);
		close(fd);
	}
	for (unsigned int i = 0; i < count; i++)
		close(clients[i]);
	close(listener);
}

static void known_udp(void)
{
	struct sockaddr_storage address = { .ss_family = AF_INET };
	socklen_t size = sizeof(struct sockaddr_in);
	int to = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int from = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1, error;
	char text[500] = "corked";
	unsigned int length = 1 + below(sizeof(text));
	struct ckpt_messages arg = { .fd = from };

	if (bind(to, (void *)&address, size) || getsockname(to, (void *)&address, &size) ||
	    connect(from, (void *)&address, size)) {
		failure("no UDP: %s", strerror(errno));
		return;
	}
	if (chance(50)) {
		setsockopt(from, IPPROTO_UDP, UDP_CORK, &one, sizeof(one));
		if (send(from, text, length, 0) < 0)
			failure("a corked socket takes nothing: %s", strerror(errno));
		error = request_plain(CKPT_NR_MESSAGES, &arg);
		if (error ? error != EPERM || !shared->user : arg.corked != length || arg.size)
			failure("MESSAGES of a corked socket: %s, %u bytes of %u, %llu to read",
				strerror(error), arg.corked, length, (unsigned long long)arg.size);
	} else {
		char buf[1000];
		struct ckpt_message message;
		struct sockaddr_in source;

		size = sizeof(source);
		getsockname(from, (void *)&source, &size);
		if (send(from, text, length, 0) < 0)
			failure("UDP sends nothing: %s", strerror(errno));
		arg.fd = to;
		arg.buf = (uintptr_t)buf;
		arg.len = sizeof(buf);
		error = request_plain(CKPT_NR_MESSAGES, &arg);
		memcpy(&message, buf, sizeof(message));
		if (error ? error != EPERM || !shared->user :
		    arg.size != sizeof(message) + ((length + 7) & ~7U) || message.len != length ||
		    message.peer_port != ntohs(source.sin_port) ||
		    memcmp(message.peer + 12, &source.sin_addr, 4) ||
		    memcmp(buf + sizeof(message), text, length))
			failure("MESSAGES of UDP: %s, %llu bytes, message of %u, port %u",
				strerror(error), (unsigned long long)arg.size, message.len,
				message.peer_port);
	}
	close(to);
	close(from);
}

static void known(void)
{
	while (going()) {
		switch (below(4)) {
		case 0:
			known_tcp();
			break;
		case 1:
			known_messages();
			break;
		case 2:
			known_children();
			break;
		case 3:
			known_udp();
			break;
		}
		atomic_fetch_add(&shared->checks, 1);
	}
}

/*
 * Who has all rights in a user namespace below has none to a socket of the
 * network namespace outside, and all to one of its own.
 */
static void elsewhere(void)
{
	int outside[2], inside[2];

	if (!connected(AF_INET, SOCK_STREAM, outside))
		return;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
		while (going())
			sleep_us(100000);
		return;
	}
	while (going()) {
		struct ckpt_tcp tcp = { .fd = outside[below(2)] };
		struct ckpt_messages messages = { .fd = tcp.fd };
		int error = request_plain(CKPT_NR_TCP, &tcp);

		if (error != EPERM)
			failure("TCP of a socket of a network namespace outside: %s", strerror(error));
		error = request_plain(CKPT_NR_MESSAGES, &messages);
		if (error != EPERM && error != EOPNOTSUPP)
			failure("MESSAGES of a socket outside: %s", strerror(error));
		if (!connected(AF_UNIX, PICK(SOCK_DGRAM, SOCK_STREAM, SOCK_SEQPACKET), inside))
			continue;
		if (write(inside[0], "x", 1) != 1)
			failure("a pair takes nothing: %s", strerror(errno));
		messages.fd = inside[1];
		error = request_plain(CKPT_NR_MESSAGES, &messages);
		if (error)
			failure("MESSAGES of a socket of its own network namespace: %s", strerror(error));
		close(inside[0]);
		close(inside[1]);
		sleep_us(1000);
	}
}

void sockets_start(void)
{
	role(table, 10);
	if (chance(50))
		role(table, 11);
	role(stream, 20);
	role(known, 30);
	role(elsewhere, 40);
}
