/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

/*
 * The kernel knows who waits for a mutex with priority inheritance, and who
 * holds it. The waiter has to tell it again.
 */
CASE(.what = "a mutex with priority inheritance that is held and waited for goes to the waiter when it is given up");

static pthread_mutex_t mutex, robust;
static volatile pid_t waiting;
static volatile int taken;

static void *waiter(void *arg)
{
	waiting = syscall(SYS_gettid);
	check(!pthread_mutex_lock(&mutex), "locking");
	taken = 1;
	check(!pthread_mutex_unlock(&mutex), "unlocking");
	return arg;
}

/* Ends as the holder. */
static void *holder(void *arg)
{
	must(!pthread_mutex_lock(&robust));
	leave_file("held");
	await_file("go");
	return arg;
}

static void run(void)
{
	pthread_t threads[2];
	pthread_mutexattr_t attr;
	int result;

	must(!pthread_mutexattr_init(&attr) && !pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT));
	must(!pthread_mutex_init(&mutex, &attr) && !pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST));
	must(!pthread_mutex_init(&robust, &attr));
	must(!pthread_mutex_lock(&mutex));
	must(!pthread_create(&threads[0], NULL, waiter, NULL) && !pthread_create(&threads[1], NULL, holder, NULL));
	while (!waiting || state_of(getpid(), waiting) != 'S')
		pause_ms(1);
	await_file("held");
	ready();
	check(!taken, "it was taken from its holder");
	check(!pthread_mutex_unlock(&mutex), "giving it up");
	must(!pthread_join(threads[0], NULL));
	check(taken, "the waiter did not get it");
	result = pthread_mutex_lock(&robust);
	check(result == EOWNERDEAD, "locking what a dead thread held: %s", strerror(result));
	must(!pthread_join(threads[1], NULL));
}
