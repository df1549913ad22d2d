/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <limits.h>
#include <pthread.h>
#include <sys/syscall.h>

CASE(.what = "10,000 threads go on, each with its number, its stack and its own data");

enum { COUNT = 10000 };

static int up[2], go[2];
static _Thread_local int own;

static void *thread(void *arg)
{
	int number = (int)(intptr_t)arg;
	pid_t tid = (pid_t)syscall(SYS_gettid);
	volatile int on_stack = ~number;
	char byte = 0;

	own = number;
	must(write(up[1], &byte, 1) == 1);
	check(!read(go[0], &byte, 1), "thread %d: it was let go by something else", number);
	check(own == number && on_stack == ~number, "thread %d: %d, %d", number, own, on_stack);
	check(syscall(SYS_gettid) == tid, "thread %d: %d is %ld", number, tid, syscall(SYS_gettid));
	return (void *)(intptr_t)(number + 1);
}

static void run(void)
{
	static pthread_t threads[COUNT];
	pthread_attr_t small;
	void *result;
	char byte;

	must(!pipe(up) && !pipe(go));
	must(!pthread_attr_init(&small) && !pthread_attr_setstacksize(&small, PTHREAD_STACK_MIN * 2));
	for (intptr_t i = 0; i < COUNT; i++)
		must(!pthread_create(&threads[i], &small, thread, (void *)i));
	for (int i = 0; i < COUNT; i++)
		must(read(up[0], &byte, 1) == 1);
	ready();
	close(go[1]);
	for (intptr_t i = 0; i < COUNT; i++) {
		check(!pthread_join(threads[i], &result), "thread %d is not there", (int)i);
		check((intptr_t)result == i + 1, "thread %d: %d", (int)i, (int)(intptr_t)result);
	}
}
