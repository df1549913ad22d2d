/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "processes in sigsuspend and pause wait for their signal, with the right masks");

static volatile sig_atomic_t usr1, usr2;

static void note(int signal)
{
	if (signal == SIGUSR1)
		usr1++;
	else
		usr2++;
}

static int in_sigsuspend(void)
{
	sigset_t block, during, after;

	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigaddset(&block, SIGINT);
	must(!sigprocmask(SIG_SETMASK, &block, NULL));
	sigfillset(&during);
	sigdelset(&during, SIGUSR1);
	/* SIGUSR2 is blocked during, and comes after. */
	check(sigsuspend(&during) == -1 && errno == EINTR, "sigsuspend: %s", strerror(errno));
	check(usr1 == 1, "SIGUSR1 came %d times", (int)usr1);
	must(!sigprocmask(SIG_SETMASK, NULL, &after));
	check(sigismember(&after, SIGUSR1) == 1 && sigismember(&after, SIGINT) == 1 &&
	      sigismember(&after, SIGUSR2) == 0 && sigismember(&after, SIGTERM) == 0, "mask after it");
	while (!usr2)
		pause_ms(1);
	return case_failures;
}

static int in_pause(void)
{
	check(pause() == -1 && errno == EINTR, "pause: %s", strerror(errno));
	check(usr1 == 1, "SIGUSR1 came %d times", (int)usr1);
	return case_failures;
}

static void run(void)
{
	struct sigaction act = { .sa_handler = note };
	pid_t suspended, paused;
	int status;

	must(!sigaction(SIGUSR1, &act, NULL));
	must(!sigaction(SIGUSR2, &act, NULL));
	must((suspended = fork()) >= 0);
	if (!suspended)
		_exit(in_sigsuspend());
	must((paused = fork()) >= 0);
	if (!paused)
		_exit(in_pause());
	await_call(suspended, SYS_rt_sigsuspend);
	await_call(paused, SYS_pause);
	ready();
	check(waitpid(-1, &status, WNOHANG) == 0, "one ended early");
	must(!kill(suspended, SIGUSR2));
	must(!kill(suspended, SIGUSR1));
	must(!kill(paused, SIGUSR1));
	check(waitpid(suspended, &status, 0) == suspended && status == 0, "sigsuspend: status %x", status);
	check(waitpid(paused, &status, 0) == paused && status == 0, "pause: status %x", status);
}
