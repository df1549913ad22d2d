/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>
#include <stddef.h>

CASE(.what = "the C library's registration of rseq goes on working, in every thread");

/* struct rseq, as far as Linux 4.18 had it. */
struct area {
	uint32_t cpu_id_start, cpu_id;
	uint64_t rseq_cs;
	uint32_t flags;
} __attribute__((aligned(32)));

extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

static volatile struct area *area(void)
{
	return (struct area *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

/* The kernel writes the processor's number whenever a thread comes to run. */
static void follows(const char *who)
{
	cpu_set_t all, one;
	unsigned int cpu;

	must(!sched_getaffinity(0, sizeof(all), &all));
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(i, &one);
		must(!sched_setaffinity(0, sizeof(one), &one));
		must(!syscall(SYS_getcpu, &cpu, NULL, NULL));
		check(area()->cpu_id == cpu && cpu == (unsigned int)i, "%s: on processor %u, says %u", who, cpu,
		      area()->cpu_id);
	}
	must(!sched_setaffinity(0, sizeof(all), &all));
	/* It is registered: registering again is refused, as EINVAL if the C library gave another length. */
	check(syscall(SYS_rseq, area(), 32, 0, 0x53053053) < 0 && (errno == EBUSY || errno == EINVAL),
	      "%s: %s", who, strerror(errno));
	check(area()->rseq_cs == 0, "%s: a sequence is under way", who);
}

static void *body(void *arg)
{
	(void)arg;
	leave_file("up");
	await_file("go");
	follows("thread");
	return NULL;
}

static void run(void)
{
	pthread_t thread;

	if (!&__rseq_size || !__rseq_size) {
		/* A C library before 2.35 does not register it. */
		ready();
		return;
	}
	must(!pthread_create(&thread, NULL, body, NULL));
	await_file("up");
	ready();
	follows("main thread");
	pthread_join(thread, NULL);
}
