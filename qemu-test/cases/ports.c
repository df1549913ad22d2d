/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/io.h>

CASE(.what = "the I/O ports that ioperm has opened are open, each to its thread, and no others");

static pthread_barrier_t set, restored;
static __thread sigjmp_buf out;

static void denied(int signal)
{
	(void)signal;
	siglongjmp(out, 1);
}

/* Whether a port can be read. */
static bool is_open(unsigned short port)
{
	if (sigsetjmp(out, 1))
		return false;
	inb(port);
	return true;
}

static void *thread(void *arg)
{
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&restored);
	check(!is_open(0x80) && !is_open(0xffff), "a thread that has opened none");
	return arg;
}

static void run(void)
{
	struct sigaction act = { .sa_handler = denied };
	pthread_t t;

	must(!sigaction(SIGSEGV, &act, NULL));
	must(!pthread_barrier_init(&set, NULL, 2) && !pthread_barrier_init(&restored, NULL, 2));
	must(!pthread_create(&t, NULL, thread, NULL));
	pthread_barrier_wait(&set);
	if (ioperm(0x80, 1, 1) && errno == ENOSYS)
		skip("the kernel has no ioperm");
	/* That for delays, one alone, and the last. */
	must(!ioperm(0x70, 2, 1) && !ioperm(0xffff, 1, 1));
	must(is_open(0x80) && is_open(0xffff) && !is_open(0x82));
	ready();
	check(is_open(0x80) && is_open(0x70) && is_open(0x71) && is_open(0xffff), "open ports");
	check(!is_open(0x7f) && !is_open(0x81) && !is_open(0x72) && !is_open(0xfffe), "closed ports");
	pthread_barrier_wait(&restored);
	must(!pthread_join(t, NULL));
}
