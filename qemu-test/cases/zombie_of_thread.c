/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

CASE(.what = "children of a thread that is not the main one, also dead ones, are waited for by any thread");

static pid_t zombie, lives;

static void *body(void *arg)
{
	siginfo_t info;
	int status;

	must((zombie = fork()) >= 0);
	if (!zombie)
		_exit(41);
	must((lives = fork()) >= 0);
	if (!lives) {
		await_file("go");
		_exit(42);
	}
	must(!waitid(P_PID, zombie, &info, WEXITED | WNOWAIT));
	leave_file("set");
	await_file("go");
	check(waitpid(lives, &status, 0) == lives && WEXITSTATUS(status) == 42, "status %x", status);
	return arg;
}

static void run(void)
{
	pthread_t thread;
	int status;

	must(!pthread_create(&thread, NULL, body, NULL));
	await_file("set");
	ready();
	check(waitpid(zombie, &status, 0) == zombie && WEXITSTATUS(status) == 41, "status %x", status);
	pthread_join(thread, NULL);
	check(waitpid(-1, &status, 0) == -1 && errno == ECHILD, "one child too many");
}
