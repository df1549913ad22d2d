/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "credentials.h"

#include <pthread.h>

CASE(.what = "threads of one process keep credentials that differ");

enum { THREADS = 4 };
static pthread_barrier_t set, restored;

/* glibc's functions would change all threads. */
static void become(int who)
{
	gid_t groups[] = { 10, 20 + who };
	const uint32_t raw = 1 << CAP_NET_RAW, chown = 1 << CAP_CHOWN;

	switch (who) {
	case 1:
		must(!syscall(SYS_setgroups, 2, groups));
		must(!syscall(SYS_setresgid, 301, 302, 303) && !syscall(SYS_setresuid, 401, 402, 403));
		must(!prctl(PR_SET_PDEATHSIG, SIGUSR1));
		break;
	case 2:
		must(!syscall(SYS_setgroups, 1, groups));
		must(!prctl(PR_CAPBSET_DROP, CAP_SYS_MODULE) && !prctl(PR_CAPBSET_DROP, CAP_MKNOD));
		must(!prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS));
		must(!syscall(SYS_setresuid, 500, 500, 500));
		set_caps(0, raw | chown, chown);
		break;
	case 3:
		must(!syscall(SYS_setgroups, 0, NULL));
		set_caps(raw, raw, raw);
		must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		syscall(SYS_setfsuid, 77);
		break;
	}
}

static void *thread(void *arg)
{
	int who = (long)arg;
	char name[16];
	struct ids was, is;

	become(who);
	was = credentials();
	pthread_barrier_wait(&set);
	/* That of the process, which changes with each thread. */
	was.dumpable = prctl(PR_GET_DUMPABLE);
	pthread_barrier_wait(&restored);
	is = credentials();
	snprintf(name, sizeof(name), "thread %d", who);
	same(name, &was, &is);
	return NULL;
}

/* In a child: the parent death signal of a root is another case. */
static void child(void)
{
	pthread_t threads[THREADS];
	struct ids was, is;

	must(!pthread_barrier_init(&set, NULL, THREADS) && !pthread_barrier_init(&restored, NULL, THREADS));
	for (long i = 1; i < THREADS; i++)
		must(!pthread_create(&threads[i], NULL, thread, (void *)i));
	was = credentials();
	pthread_barrier_wait(&set);
	was.dumpable = prctl(PR_GET_DUMPABLE);
	ready_in_child();
	pthread_barrier_wait(&restored);
	is = credentials();
	same("main", &was, &is);
	for (int i = 1; i < THREADS; i++)
		must(!pthread_join(threads[i], NULL));
}

static void run(void)
{
	run_in_child(child);
}
