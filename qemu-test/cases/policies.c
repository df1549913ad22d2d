/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>
#include <sys/resource.h>

CASE(.what = "threads of all scheduling policies keep theirs, with all that belongs to it");

/* struct sched_attr of linux/sched/types.h, which does not go together with sched.h of the C library. */
struct attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static struct attributes threads[] = {
	{ .policy = SCHED_FIFO, .priority = 3, .nice = 4 },
	{ .policy = SCHED_RR, .priority = 9, .flags = 1 /* SCHED_FLAG_RESET_ON_FORK */ },
	{ .policy = SCHED_BATCH, .nice = 5 },
	{ .policy = SCHED_IDLE, .nice = 7 },
	{ .policy = 6 /* SCHED_DEADLINE */, .runtime = 1000000, .deadline = 20000000, .period = 50000000 },
	{ .policy = SCHED_OTHER, .nice = -5 },
};
enum { COUNT = sizeof(threads) / sizeof(threads[0]) };

static pthread_barrier_t all_set;

static void *body(void *arg)
{
	struct attributes *own = arg, now = { 0 };

	own->size = sizeof(*own);
	/* It is kept also if the policy has no use for it. */
	must(!setpriority(PRIO_PROCESS, 0, own->nice));
	must(!syscall(SYS_sched_setattr, 0, own, 0));
	pthread_barrier_wait(&all_set);
	await_file("go");
	must(!syscall(SYS_sched_getattr, 0, &now, sizeof(now), 0));
	check(now.policy == own->policy && now.flags == own->flags, "policy %u, flags %lx of policy %u", now.policy,
	      now.flags, own->policy);
	check(getpriority(PRIO_PROCESS, 0) == own->nice, "nice %d of policy %u", getpriority(PRIO_PROCESS, 0),
	      own->policy);
	check(now.priority == own->priority, "priority %u of policy %u", now.priority, own->policy);
	/* The others tell the length of their slices, which are the kernel's choice. */
	if (own->policy == 6)
		check(now.runtime == own->runtime && now.deadline == own->deadline && now.period == own->period,
		      "%lu of %lu in %lu", now.runtime, now.deadline, now.period);
	return NULL;
}

static void run(void)
{
	pthread_t ids[COUNT];

	must(!pthread_barrier_init(&all_set, NULL, COUNT + 1));
	for (int i = 0; i < COUNT; i++)
		must(!pthread_create(&ids[i], NULL, body, &threads[i]));
	pthread_barrier_wait(&all_set);
	ready();
	for (int i = 0; i < COUNT; i++)
		must(!pthread_join(ids[i], NULL));
}
