/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "children tell of their end by the signal that they were made with, or by none");

enum { CHILDREN = 3 };

enum { REAL_TIME = 37 };

static const int signals[CHILDREN] = { SIGUSR1, 0, REAL_TIME };
static volatile pid_t told[65];

static void note(int signal, siginfo_t *info, void *context)
{
	(void)context;
	told[signal] = info->si_pid;
}

static void run(void)
{
	struct sigaction act = { .sa_sigaction = note, .sa_flags = SA_SIGINFO | SA_RESTART };
	pid_t children[CHILDREN], zombie;
	siginfo_t info;
	int status;

	must(!sigaction(SIGUSR1, &act, NULL) && !sigaction(SIGCHLD, &act, NULL));
	must(!sigaction(REAL_TIME, &act, NULL));
	for (int i = 0; i < CHILDREN; i++) {
		must((children[i] = syscall(SYS_clone, signals[i], 0, 0, 0, 0)) >= 0);
		if (!children[i]) {
			await_file("go");
			_exit(20 + i);
		}
	}
	/* One that has ended already, and has told so. */
	must((zombie = syscall(SYS_clone, REAL_TIME, 0, 0, 0, 0)) >= 0);
	if (!zombie)
		_exit(19);
	while (waitid(P_PID, zombie, &info, WEXITED | WNOWAIT | __WALL))
		must(errno == EINTR);
	must(told[REAL_TIME] == zombie);
	told[REAL_TIME] = 0;
	ready();
	for (int i = 0; i < CHILDREN; i++) {
		/* Without __WALL only those of SIGCHLD are waited for. */
		check(waitpid(children[i], &status, 0) == -1 && errno == ECHILD, "child %d is like others", i);
		check(waitpid(children[i], &status, __WALL) == children[i], "child %d", i);
		check(WIFEXITED(status) && WEXITSTATUS(status) == 20 + i, "child %d: status %x", i, status);
		check(!signals[i] || told[signals[i]] == children[i], "child %d was told of by %d", i,
		      told[signals[i]]);
	}
	check(!told[SIGCHLD], "process %d has told by SIGCHLD", told[SIGCHLD]);
	check(waitpid(zombie, &status, __WALL) == zombie && WEXITSTATUS(status) == 19, "status %x", status);
}
