/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>
#include <sys/resource.h>

CASE(.what = "policy, nice value, priority, affinity, I/O priority and timer slack of each thread are kept");

static pthread_barrier_t all_set;

static int io_priority(void)
{
	return syscall(SYS_ioprio_get, 1, 0);
}

/* A thread with a real-time policy. */
static void *real_time(void *arg)
{
	struct sched_param param = { .sched_priority = 7 };

	(void)arg;
	must(!sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &param));
	pthread_barrier_wait(&all_set);
	await_file("go");
	check(sched_getscheduler(0) == (SCHED_RR | SCHED_RESET_ON_FORK), "policy %d", sched_getscheduler(0));
	must(!sched_getparam(0, &param));
	check(param.sched_priority == 7, "priority %d", param.sched_priority);
	return NULL;
}

/* A nice one, on one processor. */
static void *nice_one(void *arg)
{
	pid_t tid = syscall(SYS_gettid);
	cpu_set_t one, all;

	(void)arg;
	must(!sched_getaffinity(0, sizeof(all), &all));
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
		if (CPU_ISSET(cpu, &all))
			CPU_SET(cpu, &one);
	must(!sched_setaffinity(0, sizeof(one), &one));
	must(!setpriority(PRIO_PROCESS, tid, 11));
	must(!syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6));
	must(!prctl(PR_SET_TIMERSLACK, 12345));
	pthread_barrier_wait(&all_set);
	await_file("go");
	must(!sched_getaffinity(0, sizeof(all), &all));
	check(CPU_EQUAL(&one, &all), "%d processors", CPU_COUNT(&all));
	check(getpriority(PRIO_PROCESS, tid) == 11, "nice %d", getpriority(PRIO_PROCESS, tid));
	check(io_priority() == (2 << 13 | 6), "I/O priority %x", io_priority());
	check(prctl(PR_GET_TIMERSLACK) == 12345, "timer slack %d", prctl(PR_GET_TIMERSLACK));
	return NULL;
}

static void run(void)
{
	pthread_t threads[2];

	must(!pthread_barrier_init(&all_set, NULL, 3));
	must(!pthread_create(&threads[0], NULL, real_time, NULL));
	must(!pthread_create(&threads[1], NULL, nice_one, NULL));
	must(!sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){ 0 }));
	must(!setpriority(PRIO_PROCESS, 0, -3));
	pthread_barrier_wait(&all_set);
	ready();
	check(sched_getscheduler(0) == SCHED_BATCH, "policy %d", sched_getscheduler(0));
	check(getpriority(PRIO_PROCESS, 0) == -3, "nice %d", getpriority(PRIO_PROCESS, 0));
	check(prctl(PR_GET_TIMERSLACK) == 50000, "timer slack %d", prctl(PR_GET_TIMERSLACK));
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
}
