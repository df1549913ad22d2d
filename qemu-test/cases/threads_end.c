/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

/* Whatever moment the dump comes in: some threads are just beginning, others just ending. */
CASE(.what = "threads that begin and end all the time are dumped in the midst of it");

enum { MAKERS = 4 };

static volatile int over;
static volatile long made, ended;

static void *brief(void *arg)
{
	__atomic_add_fetch(&ended, 1, __ATOMIC_SEQ_CST);
	return arg;
}

static void *maker(void *arg)
{
	pthread_t thread;

	while (!over) {
		must(!pthread_create(&thread, NULL, brief, NULL));
		__atomic_add_fetch(&made, 1, __ATOMIC_SEQ_CST);
		check(!pthread_join(thread, NULL), "join");
	}
	return arg;
}

static void run(void)
{
	pthread_t makers[MAKERS];
	long before;

	for (int i = 0; i < MAKERS; i++)
		must(!pthread_create(&makers[i], NULL, maker, NULL));
	while (made < 100)
		pause_ms(1);
	ready();
	/* They go on. */
	before = made;
	while (made < before + 100)
		pause_ms(1);
	over = 1;
	for (int i = 0; i < MAKERS; i++)
		must(!pthread_join(makers[i], NULL));
	check(made == ended, "%ld threads were made, %ld have ended", made, ended);
}
