// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Plays about the memory that a request is given: sizes of the structure and
 * addresses of it and of the buffers at all borders; memory that is mapped and
 * unmapped meanwhile; and memory whose content comes late, never, or changes.
 */
#include <sys/socket.h>

#include "fuzz.h"

static pid_t victim;
static int victim_pidfd;
static int pair[2], datagrams[2];

static const size_t first_sizes[REQUESTS] = {
	CKPT_SET_PID_SIZE_VER0, CKPT_SET_IDS_SIZE_VER0, CKPT_SET_START_SIZE_VER0,
	CKPT_USAGE_SIZE_VER0, CKPT_SIGACTIONS_SIZE_VER0, CKPT_THREAD_SIZE_VER0,
	CKPT_PROCESS_SIZE_VER0, CKPT_TCP_SIZE_VER0, CKPT_MESSAGES_SIZE_VER0,
};

/* Whether a request writes its structure. */
static bool is_answered(unsigned int nr)
{
	return nr >= CKPT_NR_SIGACTIONS;
}

static bool victim_make(void)
{
	int status;

	victim = fork();
	if (!victim) {
		prctl(PR_SET_NAME, "victim");
		victim_run(VICTIM_SLEEPER);
	}
	victim_pidfd = sys_pidfd_open(victim, 0);
	if (victim < 0 || ptrace(PTRACE_SEIZE, victim, 0, PTRACE_O_EXITKILL) ||
	    ptrace(PTRACE_INTERRUPT, victim, 0, 0) || waitpid(victim, &status, __WALL) != victim) {
		failure("no victim: %s", strerror(errno));
		return false;
	}
	return true;
}

static void victim_unmake(void)
{
	kill(victim, SIGKILL);
	while (waitpid(victim, NULL, __WALL) < 0 && errno == EINTR)
		;
	close(victim_pidfd);
}

static bool sockets_make(void)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	memset(&address, 0, sizeof(address));
	address.ss_family = AF_INET;
	if (listen(listener, 1) || getsockname(listener, (void *)&address, &size) ||
	    connect(pair[0], (void *)&address, size) ||
	    (pair[1] = accept(listener, NULL, NULL)) < 0 ||
	    socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams)) {
		failure("no sockets: %s", strerror(errno));
		return false;
	}
	close(listener);
	for (unsigned int i = 0; i < 5; i++) {
		char text[5000] = "text";

		send(pair[0], text, 1 + below(sizeof(text)), MSG_DONTWAIT);
		send(datagrams[0], text, below(sizeof(text)), MSG_DONTWAIT);
	}
	return true;
}

/* Arguments with which the request succeeds. */
static void fill(unsigned int nr, void *at)
{
	struct ckpt_set_pid *set_pid = at;
	int32_t *fd = at;

	memset(at, 0, request_sizes[nr]);
	*fd = nr == CKPT_NR_TCP ? pair[1] : nr == CKPT_NR_MESSAGES ? datagrams[1] : victim_pidfd;
	if (nr == CKPT_NR_SET_PID) {
		set_pid->count = 1;
		set_pid->nr[0] = victim;
	}
}

/* What an error of a request with good arguments may be if its memory was tampered with. */
static void sizes(void)
{
	static uint8_t buf[16384 + 16] __attribute__((aligned(8)));
	unsigned int nr = below(REQUESTS);
	size_t first = first_sizes[nr], known = request_sizes[nr], size;
	bool tail = chance(30);
	int error, must;

	size = PICK(0, 1, 4, 7, 8, first - 1, first, first + 1, first + 4, first + 8, known,
		    known + 8, 4095, 4096, 4104, 8192, 16376, 16383);
	memset(buf, 0, sizeof(buf));
	fill(nr, buf);
	memset(buf + (size > known ? size : known), 0xa5, 16);
	if (size > known && tail)
		buf[known + below(size - known)] = 1 + below(255);
	must = size < first ? EINVAL : size > known && tail ? E2BIG : 0;
	error = request_sized(nr, size, (uintptr_t)buf);
	if (error != must)
		failure("%s of size %zu%s: %s, must be %s", request_names[nr], size,
			size > known && tail ? ", not zero," : "", strerror(error), strerror(must));
	for (size_t i = size > known ? size : known; i < (size > known ? size : known) + 16; i++)
		if (buf[i] != 0xa5)
			failure("%s of size %zu writes behind its structure", request_names[nr], size);
	if (!error && size > known)
		for (size_t i = known; i < size; i++)
			if (buf[i]) {
				failure("%s of size %zu writes what it does not know", request_names[nr], size);
				break;
			}
}

static void addresses(void)
{
	unsigned int nr = below(REQUESTS);
	struct place place = place_make(request_sizes[nr], chance(50) ? 8 : 1);
	bool good = place.readable && (place.writable || !is_answered(nr));
	int error;

	if (place.readable) {
		if (!place.writable)
			mprotect(place.base, place.mapped, PROT_READ | PROT_WRITE);
		fill(nr, place.at);
		if (!place.writable)
			mprotect(place.base, place.mapped, PROT_READ);
	}
	error = request_sized(nr, request_sizes[nr], (uintptr_t)place.at);
	if (good ? error : !error || (error != EFAULT && error != EINVAL && error != EBADF))
		failure("%s at %p (%sreadable, %swritable): %s", request_names[nr], place.at,
			place.readable ? "" : "not ", place.writable ? "" : "not ", strerror(error));
	place_free(&place);
}

static void buffers(void)
{
	size_t size = PICK(0, 1, 7, 8, 40, 4095, 4096, 4097, 10000, 65536);
	struct place place = place_make(size ? size : 1, 1);
	uint64_t length = chance(80) ? size : border();
	bool good = place.writable && length <= size;
	int error;

	if (chance(50)) {
		struct ckpt_tcp arg = { .fd = pair[chance(70)] };

		if (chance(80)) {
			arg.recv_buf = (uintptr_t)place.at;
			arg.recv_len = length;
		} else {
			arg.send_buf = (uintptr_t)place.at;
			arg.send_len = length;
		}
		error = request_plain(CKPT_NR_TCP, &arg);
		if (good && error)
			failure("TCP with a buffer of %zu bytes: %s", size, strerror(error));
		if (!error && place.nowhere && length &&
		    ((arg.recv_len && arg.recv_bytes) || (arg.send_len && arg.send_bytes)))
			failure("TCP writes to where nobody can");
	} else {
		struct ckpt_messages arg = {
			.fd = datagrams[chance(80)], .buf = (uintptr_t)place.at, .len = length,
		};

		error = request_plain(CKPT_NR_MESSAGES, &arg);
		if (good && error)
			failure("MESSAGES with a buffer of %zu bytes: %s", size, strerror(error));
		/* A message that there is no room for is not written at all. */
		if (!error && place.nowhere && length > 5100 && arg.size)
			failure("MESSAGES of %llu bytes writes to where nobody can",
				(unsigned long long)arg.size);
	}
	place_free(&place);
}

static void commands(void)
{
	static uint64_t buf[2048];
	unsigned int command = _IOC(below(4), chance(90) ? CKPT_IOC_MAGIC : (int)below(256),
				    chance(50) ? below(REQUESTS + 3) : below(256),
				    PICK(0, 8, 16, 64, 128, 2056, below(16384)));
	int error;

	memset(buf, chance(50) ? 0 : (int)random_next(), sizeof(buf));
	if (chance(50))
		memcpy(buf, &victim_pidfd, sizeof(victim_pidfd));
	error = request_raw(command, chance(90) ? (uintptr_t)buf : border());
	if (!error && _IOC_NR(command) >= REQUESTS)
		failure("command %#x succeeds", command);
	/* It may have been one that kills nobody, but sets something: groups and sessions are none of this play. */
}

static uint8_t *shifting;

static void *shifts(void *arg)
{
	(void)arg;
	while (going()) {
		mprotect(shifting, 8192, PICK(PROT_READ, PROT_NONE, PROT_READ | PROT_WRITE));
		if (chance(20))
			mmap(shifting + 4096, 4096, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		if (chance(20))
			munmap(shifting + 4096, 4096);
		if (chance(20))
			madvise(shifting, 4096, MADV_DONTNEED);
		sleep_us(below(100));
	}
	return NULL;
}

/* What becomes of it is open; but for those that change something, it is zero or what was there. */
static void unsteady(void)
{
	unsigned int nr = CKPT_NR_SIGACTIONS + below(REQUESTS - CKPT_NR_SIGACTIONS);
	struct ckpt_messages arg = { .fd = datagrams[1], .buf = (uintptr_t)shifting, .len = 8192 };

	if (chance(50))
		request_sized(nr, request_sizes[nr], (uintptr_t)shifting + 4096 - below(128));
	else
		request_plain(CKPT_NR_MESSAGES, &arg);
}

static void borders(void)
{
	pthread_t thread;

	if (!victim_make() || !sockets_make())
		return;
	shifting = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pthread_create(&thread, NULL, shifts, NULL))
		return;
	while (going()) {
		switch (below(5)) {
		case 0:
			sizes();
			break;
		case 1:
			addresses();
			break;
		case 2:
			buffers();
			break;
		case 3:
			commands();
			/* It may have got other ids by chance, but is the same. */
			if (pid_of_pidfd(victim_pidfd) != victim)
				victim = pid_of_pidfd(victim_pidfd);
			break;
		case 4:
			unsteady();
			break;
		}
	}
	victim_unmake();
}

void borders_start(void)
{
	role(borders, 10);
	role(borders, 11);
	role(borders, 12);
}

/* ---- Slow memory ---- */

bool slow_possible(void)
{
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

#define STACK	(16 << 10)

/* A request by a process that shares our memory, and so our slow page, and can be killed alone. */
struct caller {
	unsigned int command;
	void *arg;
	pid_t pid;
	char stack[STACK] __attribute__((aligned(16)));
};

static int caller_main(void *data)
{
	struct caller *caller = data;

	sys_raw_ioctl(device, caller->command, caller->arg);
	return 0;
}

static void caller_start(struct caller *caller, unsigned int command, void *arg)
{
	caller->command = command;
	caller->arg = arg;
	caller->pid = clone(caller_main, caller->stack + STACK, CLONE_VM | SIGCHLD, caller);
}

static void caller_kill(struct caller *caller)
{
	int64_t until = now_ns() + 60 * NSEC;

	kill(caller->pid, SIGKILL);
	while (waitpid(caller->pid, NULL, WNOHANG) != caller->pid) {
		if (now_ns() > until) {
			failure("a caller that waits for its memory cannot be killed");
			snapshot_say();
			_exit(1);
		}
		sleep_us(2000);
	}
}

/* What happens while a request waits for its memory. */
struct meanwhile {
	struct slow_page *page;
	bool kills;
	int socket;
	pthread_t thread;
	_Atomic bool done, over;
};

static void *meanwhile(void *arg)
{
	struct meanwhile *m = arg;
	char byte;

	random_begin(now_ns(), 0);
	while (!slow_page_was_hit(m->page) && !m->done)
		sleep_us(500);
	if (m->kills)
		kill(victim, SIGKILL);
	if (m->socket >= 0) {
		/* May have to wait for the request, as for any other reader, but not for ever. */
		if (recv(m->socket, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0)
			sched_yield();
		send(m->socket, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	m->over = true;
	return NULL;
}

static void slow_request(void)
{
	static struct caller caller;
	enum slow mode = PICK(SLOW_DELAY, SLOW_CHANGE, SLOW_NEVER);
	unsigned int nr = below(REQUESTS);
	struct meanwhile m = { .kills = chance(30), .socket = -1 };
	uint8_t content[4096] = { 0 };
	size_t offset = 0, size = request_sizes[nr];
	bool whole = nr < CKPT_NR_TCP || chance(40);
	int64_t until;
	void *at;

	if (!victim_make())
		return;
	fill(nr, content);
	if (nr == CKPT_NR_TCP)
		m.socket = pair[1];
	if (nr == CKPT_NR_MESSAGES)
		m.socket = datagrams[1];
	if (whole) {
		/* The structure lies in the slow page, or ends in the next. */
		offset = chance(50) ? 0 : (4096 - size / 2) & ~7UL;
		/* With a tail that the kernel reads to see that it is zero. */
		if (chance(30) && offset + size + 512 < 8192)
			size += 512;
	}
	m.page = slow_page_make(mode, content, request_sizes[nr], offset);
	if (!m.page) {
		victim_unmake();
		return;
	}
	at = whole ? (uint8_t *)slow_page_at(m.page) + offset : content;
	if (!whole && nr == CKPT_NR_MESSAGES) {
		struct ckpt_messages *messages = at;

		messages->buf = (uintptr_t)slow_page_at(m.page);
		messages->len = 8192;
	} else if (!whole) {
		struct ckpt_tcp *tcp = at;

		tcp->recv_buf = (uintptr_t)slow_page_at(m.page);
		tcp->recv_len = 8192;
	}
	if (pthread_create(&m.thread, NULL, meanwhile, &m)) {
		slow_page_free(m.page);
		victim_unmake();
		return;
	}
	if (mode == SLOW_NEVER) {
		caller_start(&caller, _IOC(nr < CKPT_NR_SIGACTIONS ? _IOC_WRITE :
					   _IOC_READ | _IOC_WRITE, CKPT_IOC_MAGIC, nr, size), at);
		until = now_ns() + 100000000;
		while (!slow_page_was_hit(m.page) && now_ns() < until)
			sleep_us(1000);
		sleep_us(below(20000));
		caller_kill(&caller);
	} else {
		request_sized(nr, size, (uintptr_t)at);
	}
	m.done = true;
	until = now_ns() + 60 * NSEC;
	while (!m.over && now_ns() < until)
		sleep_us(1000);
	if (!m.over)
		failure("%s is over, and yet a user of the socket waits for it", request_names[nr]);
	pthread_join(m.thread, NULL);
	slow_page_free(m.page);
	victim_unmake();
}

static void slow(void)
{
	if (!sockets_make())
		return;
	while (going())
		slow_request();
}

void slow_start(void)
{
	role(slow, 10);
	role(slow, 11);
	role(bystander_reads, 20);
}
