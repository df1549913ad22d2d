/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

#include <pthread.h>

CASE(.what = "threads keep their switches: memory errors, I/O flusher, speculation");

struct switches {
	int memory_errors, flusher, store_bypass, indirect_branch;
};

static struct switches look(void)
{
	return (struct switches){
		prctl(PR_MCE_KILL_GET, 0, 0, 0, 0),
		prctl(58 /* PR_GET_IO_FLUSHER */, 0, 0, 0, 0),
		prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0),
		prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, 0, 0, 0),
	};
}

static void same(const char *who, struct switches *was, struct switches *is)
{
	check(!memcmp(was, is, sizeof(*is)), "%s: %d %d %x %x, were %d %d %x %x", who, is->memory_errors, is->flusher,
	      is->store_bypass, is->indirect_branch, was->memory_errors, was->flusher, was->store_bypass,
	      was->indirect_branch);
}

static pthread_barrier_t set, restored;

static void *thread(void *arg)
{
	struct switches was, is;

	must(!prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_LATE, 0, 0));
	/* Whether a machine has these is up to it. */
	prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_FORCE_DISABLE, 0, 0);
	prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, PR_SPEC_FORCE_DISABLE, 0, 0);
	was = look();
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&restored);
	is = look();
	same("thread", &was, &is);
	return arg;
}

static void *not_through_exec(void *arg)
{
	struct switches was, is;

	prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 1UL << 4 /* PR_SPEC_DISABLE_NOEXEC */, 0, 0);
	was = look();
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&restored);
	is = look();
	same("thread with one that ends with an exec", &was, &is);
	return arg;
}

static void run(void)
{
	struct switches was, is;
	pthread_t threads[2];

	must(!pthread_barrier_init(&set, NULL, 3) && !pthread_barrier_init(&restored, NULL, 3));
	must(!pthread_create(&threads[0], NULL, thread, NULL));
	must(!pthread_create(&threads[1], NULL, not_through_exec, NULL));
	must(!prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
	must(!prctl(57 /* PR_SET_IO_FLUSHER */, 1, 0, 0, 0) || errno == EPERM);
	prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE, 0, 0);
	prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, PR_SPEC_DISABLE, 0, 0);
	was = look();
	pthread_barrier_wait(&set);
	ready();
	is = look();
	same("main", &was, &is);
	pthread_barrier_wait(&restored);
	for (int i = 0; i < 2; i++)
		must(!pthread_join(threads[i], NULL));
}
