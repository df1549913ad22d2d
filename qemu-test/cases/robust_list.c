/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

CASE(.what = "if the holder of a robust mutex dies after the restore, the next owner hears of it");

static void *body(void *arg)
{
	must(!pthread_mutex_lock(arg));
	leave_file("held");
	await_file("go");
	/* Ends as the holder. */
	return NULL;
}

static void run(void)
{
	pthread_mutexattr_t attr;
	pthread_mutex_t mutex;
	pthread_t thread;
	int result;

	must(!pthread_mutexattr_init(&attr));
	must(!pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST));
	must(!pthread_mutex_init(&mutex, &attr));
	must(!pthread_create(&thread, NULL, body, &mutex));
	await_file("held");
	ready();
	result = pthread_mutex_lock(&mutex);
	check(result == EOWNERDEAD, "locking: %s", strerror(result));
	must(!pthread_join(thread, NULL));
}
