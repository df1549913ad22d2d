/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"
#include <linux/futex.h>
#include <pthread.h>

CASE(.what = "calls that a 64-bit program makes in the way of 32-bit ones go on as such", .unasked = true);

#ifndef MAP_32BIT
#define MAP_32BIT 0x40
#endif

/* A call with a number of i386; all addresses are below 4 GiB. */
static int32_t int80(int nr, long b, long c, long d, long si)
{
	int32_t result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(nr), "b"(b), "c"(c), "d"(d), "S"(si)
			 : "memory", "cc", "r8", "r9", "r10", "r11");
	return result;
}

/* clock_nanosleep_time64, futex_time64, getpid. */
enum { SLEEP = 407, FUTEX = 422, GETPID = 20 };
struct timespec_64 {
	int64_t seconds, nanoseconds;
};

static struct shared {
	struct timespec_64 moment, eternity;
	uint32_t word;
	int32_t slept, waited;
} *shared;

static void *sleeper(void *arg)
{
	shared->slept = int80(SLEEP, CLOCK_MONOTONIC, 0, (long)&shared->moment, 0);
	return arg;
}

static void *waiter(void *arg)
{
	shared->waited = int80(FUTEX, (long)&shared->word, FUTEX_WAIT_PRIVATE, 1, (long)&shared->eternity);
	return arg;
}

/* Kernels without such programs end who tries. */
static bool can(void)
{
	pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (!pid)
		_exit(int80(GETPID, 0, 0, 0, 0) != getpid());
	must(waitpid(pid, &status, 0) == pid);
	return !status;
}

static void run(void)
{
	pthread_t threads[2];

	shared = map(NULL, PAGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_32BIT);
	if (!can()) {
		ready();
		return;
	}
	*shared = (struct shared){ .moment = { 1, 0 }, .eternity = { 100000, 0 }, .word = 1 };
	must(!pthread_create(&threads[0], NULL, sleeper, NULL));
	must(!pthread_create(&threads[1], NULL, waiter, NULL));
	await_threads_in(SLEEP, FUTEX);

	ready();

	must(!pthread_join(threads[0], NULL));
	check(!shared->slept, "the sleep returned %d", shared->slept);
	/* Until it has woken somebody. */
	while (int80(FUTEX, (long)&shared->word, FUTEX_WAKE_PRIVATE, 1, 0) != 1 && !shared->waited)
		pause_ms(1);
	must(!pthread_join(threads[1], NULL));
	check(!shared->waited, "the wait returned %d", shared->waited);
}
