/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "timers.h"
#include <pthread.h>
#include <sys/ipc.h>
#include <sys/sem.h>

/* The semaphores are no part of the tree, and gone after the first end of the program. */
CASE(.what = "semtimedop goes on with the time that was left", .once = true);

static int semaphores;

static void nothing(int signal)
{
	(void)signal;
}

static void *waiter(void *arg)
{
	struct timespec limit = { limit_of(9), 0 };
	struct sembuf down = { 0, -1, 0 };
	int result = semtimedop(semaphores, &down, 1, &limit);

	check(result == -1 && errno == EINTR, "%d, %s", result, strerror(errno));
	check(limit.tv_sec == limit_of(9) && !limit.tv_nsec, "the limit is %ld.%09ld s now", limit.tv_sec,
	      limit.tv_nsec);
	return arg;
}

static void *endless(void *arg)
{
	struct sembuf down = { 1, -1, 0 };
	int result = semop(semaphores, &down, 1);

	check(result == 0, "semop: %s", strerror(errno));
	return arg;
}

static void run(void)
{
	struct sigaction act = { .sa_handler = nothing };
	struct sembuf up = { 1, 1, 0 };
	pthread_t limited, other;

	must(!sigaction(SIGUSR1, &act, NULL));
	semaphores = semget(IPC_PRIVATE, 2, 0600);
	must(semaphores >= 0);
	must(!pthread_create(&limited, NULL, waiter, NULL));
	must(!pthread_create(&other, NULL, endless, NULL));
	await_threads_in(SYS_semop, SYS_semtimedop);
	await_wait(limit_of(9));
	/* Time that passes is what the case is about: this much of the limit is gone before the dump. */
	pause_ms(1500);
	ready();
	check_wait("semtimedop", limit_of(9), 1400);
	must(!pthread_kill(limited, SIGUSR1));
	must(!pthread_join(limited, NULL));
	must(!semop(semaphores, &up, 1));
	must(!pthread_join(other, NULL));
	must(!semctl(semaphores, 0, IPC_RMID));
}
