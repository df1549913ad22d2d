/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

#include <pthread.h>

CASE(.what = "threads that have the same core scheduling cookie have it afterwards, and others another or none");

enum { GET, CREATE, SHARE_TO, SHARE_FROM };
enum { NONE, OWN, CHILDS, THREADS };
static pthread_barrier_t set, restored;
static volatile pid_t child;
static volatile pid_t tid[THREADS];

static uint64_t cookie_of(pid_t pid)
{
	uint64_t cookie = 0;

	must(!prctl(62 /* PR_SCHED_CORE */, GET, pid, 0, &cookie));
	return cookie;
}

static void *thread(void *arg)
{
	long who = (long)arg;

	tid[who] = gettid();
	if (who == OWN)
		must(!prctl(62, CREATE, 0, 0, 0));
	if (who == CHILDS)
		must(!prctl(62, SHARE_FROM, child, 0, 0));
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&restored);
	return NULL;
}

static void look(void)
{
	uint64_t mine = cookie_of(0), childs = cookie_of(child);

	check(mine && childs && mine != childs, "%lx %lx", mine, childs);
	check(cookie_of(tid[NONE]) == 0, "one that has none has %lx", cookie_of(tid[NONE]));
	check(cookie_of(tid[CHILDS]) == childs, "shared: %lx, %lx", cookie_of(tid[CHILDS]), childs);
	check(cookie_of(tid[OWN]) && cookie_of(tid[OWN]) != mine && cookie_of(tid[OWN]) != childs, "own: %lx",
	      cookie_of(tid[OWN]));
}

static void run(void)
{
	pthread_t threads[THREADS];
	uint64_t cookie;
	int status;

	if (prctl(62, GET, 0, 0, &cookie))
		skip("the kernel has no core scheduling, or no core runs two threads");
	child = fork();
	must(child >= 0);
	if (!child)
		for (;;)
			pause();
	must(!prctl(62, CREATE, child, 0, 0));
	must(!pthread_barrier_init(&set, NULL, THREADS + 1) && !pthread_barrier_init(&restored, NULL, THREADS + 1));
	for (long i = 0; i < THREADS; i++)
		must(!pthread_create(&threads[i], NULL, thread, (void *)i));
	pthread_barrier_wait(&set);
	must(!prctl(62, CREATE, 0, 0, 0));
	look();
	ready();
	look();
	pthread_barrier_wait(&restored);
	for (int i = 0; i < THREADS; i++)
		must(!pthread_join(threads[i], NULL));
	kill(child, SIGKILL);
	must(waitpid(child, &status, 0) == child);
}
