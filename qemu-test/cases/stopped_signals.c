/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

/*
 * A parent hears once that a child has stopped: by SIGCHLD, and when it waits.
 * Half of the children have been waited for before the dump.
 */
CASE(.what = "children that are stopped by any signal stay so, and their parent hears of it once");

static const int by[] = { SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU };
enum { SIGNALS = sizeof(by) / sizeof(by[0]), CHILDREN = 2 * SIGNALS };

static volatile sig_atomic_t told;
static volatile long *counter;

static void on_child(int signal)
{
	(void)signal;
	told++;
}

/* Counts as long as it runs. */
static void *count(void *arg)
{
	volatile long *mine = arg;

	for (;;)
		++*mine;
	return NULL;
}

static int child(int signal, volatile long *mine)
{
	pthread_t thread;

	setpgid(0, 0);
	must(!pthread_create(&thread, NULL, count, (void *)mine));
	while (!*mine)
		pause_ms(1);
	must(!kill(getpid(), signal));
	/* It goes on here. */
	return 5;
}

static void run(void)
{
	struct sigaction act = { .sa_handler = on_child, .sa_flags = SA_RESTART };
	pid_t children[CHILDREN];
	long before[CHILDREN];
	siginfo_t info;
	int status, heard;

	counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(counter != MAP_FAILED && !sigaction(SIGCHLD, &act, NULL));
	for (int i = 0; i < CHILDREN; i++) {
		must((children[i] = fork()) >= 0);
		if (!children[i])
			_exit(child(by[i / 2], &counter[i]));
	}
	for (int i = 0; i < CHILDREN; i++) {
		while (state_of(children[i], children[i]) != 'T')
			pause_ms(1);
		/* Those with an even number are not waited for. */
		if (i % 2)
			must(waitpid(children[i], &status, WUNTRACED) == children[i] && WSTOPSIG(status) == by[i / 2]);
		else
			must(!waitid(P_PID, children[i], &info, WSTOPPED | WNOWAIT));
	}
	for (int i = 0; i < CHILDREN; i++)
		await_threads(children[i], NULL, 0);
	heard = told;
	for (int i = 0; i < CHILDREN; i++)
		before[i] = counter[i];
	ready();
	/* They may still be on their way from the one who held them. */
	for (int i = 0; i < CHILDREN; i++) {
		while (state_of(children[i], children[i]) != 'T')
			pause_ms(1);
		await_threads(children[i], NULL, 0);
	}
	for (int i = 0; i < CHILDREN; i++)
		check(counter[i] == before[i], "child %d runs", i);
	check(told == heard, "SIGCHLD came %d times more", told - heard);
	for (int i = 0; i < CHILDREN; i++) {
		pid_t pid = waitpid(children[i], &status, WUNTRACED | WNOHANG);

		if (i % 2)
			check(!pid, "child %d: told again, status %x", i, status);
		else
			check(pid == children[i] && WIFSTOPPED(status) && WSTOPSIG(status) == by[i / 2],
			      "child %d: pid %d, status %x", i, pid, status);
		check(waitpid(children[i], &status, WUNTRACED | WNOHANG) == 0, "child %d: told twice", i);
	}
	for (int i = 0; i < CHILDREN; i++) {
		must(!kill(children[i], SIGCONT));
		check(waitpid(children[i], &status, 0) == children[i] && WIFEXITED(status) && WEXITSTATUS(status) == 5,
		      "child %d: status %x", i, status);
		check(counter[i] >= before[i], "child %d", i);
	}
}
