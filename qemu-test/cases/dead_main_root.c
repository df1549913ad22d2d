/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

CASE(.what = "a program whose main thread has ended is dumped and restored");

enum { THREADS = 5 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_t threads[THREADS];

static void *other(void *arg)
{
	int *count = arg;

	await_file("go");
	must(!pthread_mutex_lock(&lock));
	(*count)++;
	must(!pthread_mutex_unlock(&lock));
	return NULL;
}

static void *body(void *arg)
{
	pid_t pid = getpid();
	char state[64], text[256] = "";
	static int count;
	int fd;

	(void)arg;
	snprintf(state, sizeof(state), "/proc/%d/task/%d/stat", pid, pid);
	/* Until the main thread is a zombie. */
	while (!strstr(text, ") Z")) {
		must((fd = open(state, O_RDONLY)) >= 0);
		must(read(fd, text, sizeof(text) - 1) > 0);
		close(fd);
	}
	for (int i = 0; i < THREADS; i++)
		must(!pthread_create(&threads[i], NULL, other, &count));
	ready();
	for (int i = 0; i < THREADS; i++)
		check(!pthread_join(threads[i], NULL), "join %d", i);
	check(count == THREADS, "%d threads have counted", count);
	_exit(case_failures ? 1 : 0);
}

static void run(void)
{
	pthread_t thread;

	must(!pthread_create(&thread, NULL, body, NULL));
	pthread_exit(NULL);
}
