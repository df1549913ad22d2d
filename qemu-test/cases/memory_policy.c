/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"
#include <linux/mempolicy.h>
#include <pthread.h>

CASE(.what = "memory is taken from the nodes from which threads and mappings wanted it");

#ifndef MPOL_WEIGHTED_INTERLEAVE
#define MPOL_WEIGHTED_INTERLEAVE 6
#endif
#ifndef MPOL_F_NUMA_BALANCING
#define MPOL_F_NUMA_BALANCING (1 << 13)
#endif

enum { THREADS = 3, PAGES = 8 };

struct policy {
	int mode;
	unsigned long nodes;
};

static bool policy_of(void *at, struct policy *policy)
{
	memset(policy, 0, sizeof(*policy));
	return !syscall(SYS_get_mempolicy, &policy->mode, &policy->nodes, 64ul, at, at ? MPOL_F_ADDR : 0);
}

static bool same(const struct policy *a, const struct policy *b)
{
	return a->mode == b->mode && a->nodes == b->nodes;
}

static long set_policy(int mode, unsigned long nodes)
{
	return syscall(SYS_set_mempolicy, mode, &nodes, 65ul);
}

static volatile int set_up;
static unsigned long nodes;

static void *other(void *arg)
{
	long number = (long)arg;
	struct policy before, after;

	if (number == 0)
		must(!set_policy(MPOL_DEFAULT, 0));
	else if (number == 1)
		must(!set_policy(MPOL_INTERLEAVE | MPOL_F_STATIC_NODES, nodes));
	/* The last one has what its creator had. */
	must(policy_of(NULL, &before));
	__atomic_add_fetch(&set_up, 1, __ATOMIC_SEQ_CST);
	await_file("go");
	must(policy_of(NULL, &after));
	check(same(&before, &after), "thread %ld: %x of %lx is %x of %lx", number, before.mode, before.nodes,
	      after.mode, after.nodes);
	return NULL;
}

static void run(void)
{
	static const int modes[] = {
		MPOL_BIND, MPOL_PREFERRED, MPOL_INTERLEAVE, MPOL_LOCAL, MPOL_PREFERRED_MANY,
		MPOL_WEIGHTED_INTERLEAVE, MPOL_BIND | MPOL_F_STATIC_NODES, MPOL_INTERLEAVE | MPOL_F_RELATIVE_NODES,
		MPOL_BIND | MPOL_F_NUMA_BALANCING, MPOL_BIND | MPOL_F_NUMA_BALANCING | MPOL_F_STATIC_NODES, -1,
	};
	enum { MODES = sizeof(modes) / sizeof(modes[0]) };
	struct policy before[2 * MODES], own, after;
	uint8_t *at[2 * MODES];
	pthread_t threads[THREADS];
	unsigned long last;

	/* A kernel without nodes. */
	if (syscall(SYS_get_mempolicy, NULL, &nodes, 64ul, NULL, MPOL_F_MEMS_ALLOWED)) {
		ready();
		return;
	}
	last = 1ul << (63 - __builtin_clzl(nodes));
	for (int i = 0; i < 2 * MODES; i++) {
		int mode = modes[i % MODES], kind = i % MODES;
		unsigned long wanted = kind == 3 ? 0 : kind == 1 || kind == 0 || kind == 6 ? last : nodes;

		at[i] = map(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			    MAP_ANONYMOUS | (i < MODES ? MAP_PRIVATE : MAP_SHARED));
		/* Linux 6.9, 5.12. */
		if (mode >= 0)
			must(!syscall(SYS_mbind, at[i], (PAGES - 2) * PAGE, mode, &wanted, 65ul, 0) ||
			     (errno == EINVAL && (kind == 5 || kind >= 8)));
		must(!madvise(at[i], PAGES * PAGE, MADV_NOHUGEPAGE));
		fill(at[i], PAGES * PAGE, i);
		map(NULL, PAGE, PROT_NONE, ANONYMOUS);
		must(policy_of(at[i], &before[i]));
	}
	must(!set_policy(MPOL_PREFERRED, last) && policy_of(NULL, &own) && own.mode == MPOL_PREFERRED);
	for (long i = 0; i < THREADS; i++)
		must(!pthread_create(&threads[i], NULL, other, (void *)i));
	while (set_up < THREADS)
		pause_ms(1);

	ready();

	must(policy_of(NULL, &after));
	check(same(&own, &after), "main thread: %x of %lx is %x of %lx", own.mode, own.nodes, after.mode, after.nodes);
	for (int i = 0; i < 2 * MODES; i++) {
		int node;

		must(policy_of(at[i], &after));
		check(same(&before[i], &after), "memory %d: %x of %lx is %x of %lx", i, before[i].mode, before[i].nodes,
		      after.mode, after.nodes);
		must(policy_of(at[i] + (PAGES - 1) * PAGE, &after));
		check(after.mode == MPOL_DEFAULT, "memory %d: its end has mode %x", i, after.mode);
		check(!spoiled(at[i], PAGES * PAGE, i), "contents of %d", i);
		if (before[i].nodes != last)
			continue;
		for (int page = 0; page < PAGES - 2; page++) {
			must(!syscall(SYS_get_mempolicy, &node, NULL, 0ul, at[i] + page * PAGE,
				      MPOL_F_NODE | MPOL_F_ADDR));
			check(1ul << node == last, "memory %d: page %d is on node %d", i, page, node);
		}
	}
	for (int i = 0; i < THREADS; i++)
		must(!pthread_join(threads[i], NULL));
}
