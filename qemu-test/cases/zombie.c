/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "children that ended and were not waited for are waited for after the restore");

static volatile sig_atomic_t told;

static void note(int signal)
{
	(void)signal;
	told++;
}

static void run(void)
{
	struct sigaction act = { .sa_handler = note };
	pid_t exited, killed, lives;
	siginfo_t info;
	int status, told_to_end[2];

	must(!sigaction(SIGCHLD, &act, NULL));
	must((exited = fork()) >= 0);
	if (!exited)
		_exit(42);
	must((killed = fork()) >= 0);
	if (!killed) {
		raise(SIGKILL);
		_exit(1);
	}
	must(!pipe(told_to_end));
	must((lives = fork()) >= 0);
	if (!lives) {
		/* While its parent ignores SIGCHLD it would wait for itself, and nobody for it. */
		close(told_to_end[1]);
		_exit(read(told_to_end[0], &status, 1) != 0);
	}
	/* The handler of SIGCHLD may interrupt them. */
	while (waitid(P_PID, exited, &info, WEXITED | WNOWAIT))
		must(errno == EINTR);
	while (waitid(P_PID, killed, &info, WEXITED | WNOWAIT))
		must(errno == EINTR);
	must(told > 0);
	/* It was told of both before the dump. */
	told = 0;
	signal(SIGCHLD, SIG_IGN);
	ready();
	check(told == 0, "it was told again, %d times", (int)told);
	must(!sigaction(SIGCHLD, &act, NULL));
	check(waitpid(exited, &status, 0) == exited && WIFEXITED(status) && WEXITSTATUS(status) == 42,
	      "status %x", status);
	check(waitpid(killed, &status, 0) == killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
	      "status %x", status);
	close(told_to_end[1]);
	check(waitpid(lives, &status, 0) == lives && status == 0, "the living: %#x", status);
}
