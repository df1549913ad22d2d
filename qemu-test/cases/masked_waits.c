/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>

CASE(.what = "ppoll, pselect and epoll_pwait wait on under their own mask, whatever signals come meanwhile");

/* Each call is made by two processes: for one comes what it waits for, the other gets a signal. */
enum { PPOLL, PPOLL_LIMITED, PSELECT, PSELECT_LIMITED, EPOLL_PWAIT, EPOLL_PWAIT_LIMITED, CALLS };

static const char *const names[] = {
	"ppoll", "ppoll with a limit", "pselect", "pselect with a limit", "epoll_pwait", "epoll_pwait with a limit",
};

static volatile sig_atomic_t let_through, held_back;

static void note(int signal)
{
	if (signal == SIGUSR1)
		let_through++;
	else
		held_back++;
}

static int wait_in(int which, int event, const sigset_t *during)
{
	struct timespec hour = { 3600, 0 };

	switch (which) {
	case PPOLL:
	case PPOLL_LIMITED: {
		struct pollfd p = { event, POLLIN, 0 };

		return ppoll(&p, 1, which == PPOLL ? NULL : &hour, during);
	}
	case PSELECT:
	case PSELECT_LIMITED: {
		fd_set set;

		FD_ZERO(&set);
		FD_SET(event, &set);
		return pselect(event + 1, &set, NULL, NULL, which == PSELECT ? NULL : &hour, during);
	}
	default: {
		struct epoll_event wanted = { .events = EPOLLIN | EPOLLONESHOT }, got;
		int epoll = epoll_create1(0);

		must(epoll >= 0 && !epoll_ctl(epoll, EPOLL_CTL_ADD, event, &wanted));
		return epoll_pwait(epoll, &got, 1, which == EPOLL_PWAIT ? -1 : 3600 * 1000, during);
	}
	}
}

static int waiter(int which, int event, bool signalled)
{
	sigset_t outside, during, after;
	int n;

	sigemptyset(&outside);
	sigaddset(&outside, SIGUSR1);
	sigaddset(&outside, SIGINT);
	must(!sigprocmask(SIG_SETMASK, &outside, NULL));
	sigemptyset(&during);
	sigaddset(&during, SIGUSR2);
	n = wait_in(which, event, &during);
	if (signalled)
		check(n == -1 && errno == EINTR && let_through == 1, "%s: %d, %s, %d signals", names[which], n,
		      strerror(errno), (int)let_through);
	else
		check(n == 1 && !let_through, "%s: %d, %s", names[which], n, strerror(errno));
	/*
	 * One was sent before the dump and one behind it. Before a call is
	 * begun again after a stop, the kernel itself goes back to the mask
	 * from outside: if the program was left running, the first came there.
	 */
	check(held_back == 1 || held_back == 2, "%s: %d signals that were held back", names[which],
	      (int)held_back);
	must(!sigprocmask(SIG_SETMASK, NULL, &after));
	for (int signal = 1; signal < NSIG; signal++)
		check(sigismember(&after, signal) == sigismember(&outside, signal), "%s: signal %d after it",
		      names[which], signal);
	return case_failures;
}

/* Whether a process blocks SIGUSR2, and whether one waits for it. */
static void signals_of(pid_t pid, bool *blocked, bool *waiting)
{
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	must(file);
	while (fgets(line, sizeof(line), file)) {
		unsigned long long set;

		if (sscanf(line, "SigBlk: %llx", &set) == 1)
			*blocked = set >> (SIGUSR2 - 1) & 1;
		if (sscanf(line, "ShdPnd: %llx", &set) == 1)
			*waiting = set >> (SIGUSR2 - 1) & 1;
	}
	fclose(file);
}

static void run(void)
{
	struct sigaction act = { .sa_handler = note };
	pid_t waiters[CALLS][2];
	int events[CALLS];
	uint64_t one = 1;

	must(!sigaction(SIGUSR1, &act, NULL) && !sigaction(SIGUSR2, &act, NULL));
	for (int which = 0; which < CALLS; which++) {
		must((events[which] = eventfd(0, 0)) >= 0);
		for (int signalled = 0; signalled < 2; signalled++) {
			int never = eventfd(0, 0);
			pid_t pid = fork();
			bool blocked = false, waiting;

			must(never >= 0 && pid >= 0);
			if (!pid)
				_exit(waiter(which, signalled ? never : events[which], signalled));
			close(never);
			waiters[which][signalled] = pid;
			while (!blocked)
				signals_of(pid, &blocked, &waiting);
			must(!kill(pid, SIGUSR2));
		}
	}

	ready();

	for (int which = 0; which < CALLS; which++)
		for (int signalled = 0; signalled < 2; signalled++) {
			bool waiting = false, blocked;
			int status;

			must(!kill(waiters[which][signalled], SIGUSR2));
			signals_of(waiters[which][signalled], &blocked, &waiting);
			check(waiting, "%s: a signal did not wait", names[which]);
			if (signalled)
				must(!kill(waiters[which][1], SIGUSR1));
			else
				must(write(events[which], &one, 8) == 8);
			must(waitpid(waiters[which][signalled], &status, 0) > 0);
			check(!status, "%s: status %#x", names[which], status);
		}
}
