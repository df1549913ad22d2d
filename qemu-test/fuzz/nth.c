// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * A play in which the first allocation (or copy of user memory) of a request
 * fails, then the second, and so on until none does: each failure is reported
 * as one, and has changed nothing.
 */
#include <sys/socket.h>

#include "fuzz.h"

#define MOST	200

static pid_t victim;
static int pidfd;
static int sockets[3][2];

bool faults_possible(void)
{
	return faults_work;
}

/* A new argument each time: what is asked for must be possible, and change something. */
static void fill(unsigned int nr, union request_argument *arg, unsigned int turn)
{
	static char buf[65536];

	memset(arg, 0, sizeof(*arg));
	arg->pidfd = pidfd;
	switch (nr) {
	case CKPT_NR_SET_PID:
		arg->set_pid.count = 1;
		arg->set_pid.nr[0] = shared->first + (int)(turn % shared->span);
		break;
	case CKPT_NR_SET_IDS:
		arg->set_ids.sid = shared->first + (int)(turn % shared->span);
		arg->set_ids.pgid = chance(50) ? arg->set_ids.sid :
			shared->first + (int)((turn + 5) % shared->span);
		break;
	case CKPT_NR_SET_START:
		arg->set_start.start_boottime = 1 + turn;
		break;
	case CKPT_NR_ADD_USAGE:
		arg->usage.runtime = arg->usage.utime = 1;
		arg->usage.minflt = 1;
		break;
	case CKPT_NR_TCP:
		arg->tcp.fd = sockets[0][turn % 2];
		arg->tcp.recv_buf = (uintptr_t)buf;
		arg->tcp.recv_len = sizeof(buf);
		break;
	case CKPT_NR_MESSAGES:
		arg->messages.fd = sockets[1 + turn % 2][1];
		arg->messages.buf = (uintptr_t)buf;
		arg->messages.len = sizeof(buf);
		break;
	}
}

static void one(unsigned int nr, unsigned int turn)
{
	union request_argument arg;
	struct stat_line before, after;

	for (unsigned int n = 1; n <= MOST && going(); n++) {
		bool injected;
		int error;

		fill(nr, &arg, turn);
		if (!stat_of(victim, &before))
			return;
		fault_arm(n);
		error = request_plain(nr, &arg);
		injected = fault_disarm();
		if (!error && nr == CKPT_NR_SET_PID)
			victim = arg.set_pid.nr[0];
		if (!stat_of(victim, &after)) {
			failure("%s with allocation %u failing (%s): %d is not there",
				request_names[nr], n, strerror(error), victim);
			return;
		}
		if (error && (before.pgid != after.pgid || before.sid != after.sid ||
			      before.start != after.start || before.minflt != after.minflt))
			failure("%s with allocation %u failing: %s, and changes something",
				request_names[nr], n, strerror(error));
		if (!injected) {
			/* The number may be in use, the session not to be joined. */
			if (error && error != EEXIST && error != EPERM)
				failure("%s without a failing allocation: %s", request_names[nr],
					strerror(error));
			return;
		}
		if (error && error != ENOMEM && error != EFAULT && error != EEXIST &&
		    error != EPERM)
			failure("%s with allocation %u failing: %s", request_names[nr], n,
				strerror(error));
		if (!error)
			turn++;
	}
}

static bool connect_tcp(void)
{
	struct sockaddr_storage address = { .ss_family = AF_INET };
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	sockets[0][0] = socket(AF_INET, SOCK_STREAM, 0);
	if (listen(listener, 1) || getsockname(listener, (void *)&address, &size) ||
	    connect(sockets[0][0], (void *)&address, size))
		return false;
	sockets[0][1] = accept(listener, NULL, NULL);
	close(listener);
	return sockets[0][1] >= 0;
}

static void faults(void)
{
	char text[3000] = "";
	unsigned int turn = 0;
	int status;

	if (!connect_tcp() || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets[1]) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets[2])) {
		failure("no sockets: %s", strerror(errno));
		return;
	}
	for (unsigned int i = 0; i < 3; i++)
		for (unsigned int k = 0; k < 4; k++)
			send(sockets[i][0], text, 1 + below(sizeof(text)), MSG_DONTWAIT);
	while (going()) {
		victim = fork();
		if (!victim) {
			prctl(PR_SET_NAME, "victim");
			victim_run(VICTIM_IDLE);
		}
		pidfd = sys_pidfd_open(victim, 0);
		if (victim < 0 || ptrace(PTRACE_SEIZE, victim, 0, PTRACE_O_EXITKILL) ||
		    ptrace(PTRACE_INTERRUPT, victim, 0, 0) ||
		    waitpid(victim, &status, __WALL) != victim)
			return;
		for (unsigned int i = 0; i < 12 && going(); i++, turn++)
			one(below(REQUESTS), turn);
		kill(victim, SIGKILL);
		if (waitpid(victim, &status, __WALL) != victim)
			failure("waitpid(%d): %s", victim, strerror(errno));
		close(pidfd);
	}
}

void faults_start(void)
{
	role(faults, 10);
}
