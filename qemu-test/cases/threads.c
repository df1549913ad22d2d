/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

CASE(.what = "every thread keeps its id, name, signal mask, alternate stack and thread-local data");

enum { THREADS = 8 };

static __thread int local;
static pthread_barrier_t all_set;

struct self {
	pthread_t thread;
	int number;
	pid_t tid;
};

static void *body(void *arg)
{
	struct self *self = arg;
	int n = self->number;
	char name[16], now[16];
	char *stack = malloc(SIGSTKSZ + 4096 * n);
	stack_t alt = { .ss_sp = stack, .ss_size = SIGSTKSZ + 4096 * n }, alt_now;
	sigset_t set, set_now;

	must(stack);
	self->tid = syscall(SYS_gettid);
	local = 100 + n;
	snprintf(name, sizeof(name), "worker %d", n);
	must(!prctl(PR_SET_NAME, name));
	must(!sigaltstack(&alt, NULL));
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + n);
	must(!pthread_sigmask(SIG_SETMASK, &set, NULL));
	pthread_barrier_wait(&all_set);
	await_file("go");

	check(syscall(SYS_gettid) == self->tid, "thread %d was %d", n, self->tid);
	check(local == 100 + n, "local of thread %d is %d", n, local);
	prctl(PR_GET_NAME, now);
	check(!strcmp(name, now), "thread %d is called %s", n, now);
	sigaltstack(NULL, &alt_now);
	check(alt_now.ss_sp == alt.ss_sp && alt_now.ss_size == alt.ss_size && alt_now.ss_flags == 0,
	      "alternate stack of thread %d is %p, flags %d", n, alt_now.ss_sp, alt_now.ss_flags);
	pthread_sigmask(SIG_SETMASK, NULL, &set_now);
	for (int signal = 1; signal < 65; signal++)
		check(sigismember(&set, signal) == sigismember(&set_now, signal),
		      "signal %d of thread %d", signal, n);
	return self;
}

static void run(void)
{
	static struct self self[THREADS];

	must(!pthread_barrier_init(&all_set, NULL, THREADS + 1));
	for (int i = 0; i < THREADS; i++) {
		self[i].number = i;
		must(!pthread_create(&self[i].thread, NULL, body, &self[i]));
	}
	pthread_barrier_wait(&all_set);
	ready();
	for (int i = 0; i < THREADS; i++) {
		void *result;

		/* This waits for the word that the kernel clears at the end of a thread. */
		check(!pthread_join(self[i].thread, &result) && result == &self[i], "join %d", i);
	}
}
