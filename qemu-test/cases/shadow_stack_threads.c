/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include <pthread.h>
#include <semaphore.h>

#include "shadow_stack.h"

CASE(.what = "threads return on their shadow stacks, which the kernel takes away when they end");

enum { THREADS = 4, DEPTH = 20 };

static pthread_barrier_t all_deep;
static sem_t end[THREADS];
static __thread long number;

static long wait_deep(void)
{
	pthread_barrier_wait(&all_deep);
	while (sem_wait(&end[number]))
		;
	return 0;
}

static void *thread(void *arg)
{
	number = (long)arg;
	return (void *)descend(DEPTH * number, wait_deep);
}

static void run(void)
{
	static const size_t sizes[THREADS] = { 64 << 10, 8 << 20, 1 << 20, 64 << 10 };
	pthread_t threads[THREADS];
	pthread_attr_t attributes;
	void *result;
	long i;

	switch_on_shadow_stack();
	must(!pthread_barrier_init(&all_deep, NULL, THREADS + 1));
	must(!pthread_attr_init(&attributes));
	for (i = 0; i < THREADS; i++) {
		must(!sem_init(&end[i], 0, 0));
		must(!pthread_attr_setstacksize(&attributes, sizes[i]));
		must(!pthread_create(&threads[i], &attributes, thread, (void *)i));
	}
	pthread_barrier_wait(&all_deep);
	must(count_shadow_stacks() == THREADS + 1);
	ready();
	check(count_shadow_stacks() == THREADS + 1, "there are %d", count_shadow_stacks());
	for (i = 0; i < THREADS; i++) {
		sem_post(&end[i]);
		check(!pthread_join(threads[i], &result), "a thread is lost");
		check((long)result == DEPTH * i + 1, "thread %ld came back with %ld", i, (long)result);
		check(count_shadow_stacks() == THREADS - i, "there are %d", count_shadow_stacks());
	}
	_exit(case_failures ? 1 : 0);
}
