/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

#include <asm/ldt.h>
#include <pthread.h>

CASE(.what = "segments of set_thread_area are kept, of each thread");

static struct user_desc *area;
static pthread_barrier_t set, restored;

/* Segments are for 32-bit programs; their calls are open to all. */
static int set_area(unsigned int base, unsigned int limit)
{
	int result;

	*area = (struct user_desc){ .entry_number = -1, .base_addr = base, .limit = limit, .seg_32bit = 1, .useable = 1 };
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(243), "b"(area) : "memory", "r8", "r9", "r10", "r11");
	return result < 0 ? result : (int)area->entry_number;
}

/* What the processor says of the segment; -1 if there is none. */
static long limit_of(int number)
{
	unsigned long limit = 0;
	unsigned char there;

	__asm__("lsl %2, %0; setz %1" : "+r"(limit), "=q"(there) : "r"((unsigned long)(number << 3 | 3)) : "cc");
	return there ? (long)limit : -1;
}

static unsigned int base_of(int number)
{
	int result;

	*area = (struct user_desc){ .entry_number = number };
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(244), "b"(area) : "memory", "r8", "r9", "r10", "r11");
	check(!result, "get_thread_area: %d", result);
	return area->base_addr;
}

static void *thread(void *arg)
{
	int number;

	pthread_barrier_wait(&set);
	number = set_area(0x5000, 0x111);
	must(number > 0 && limit_of(number) == 0x111);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&restored);
	check(limit_of(number) == 0x111 && base_of(number) == 0x5000, "thread: %lx", limit_of(number));
	check(limit_of(number + 1) == -1, "thread: one that it has not");
	return arg;
}

static void run(void)
{
	int status, first, second;
	pthread_t t;
	pid_t pid;

	area = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	must(area != MAP_FAILED);
	pid = fork();
	if (!pid)
		_exit(set_area(1, 1) < 0);
	must(waitpid(pid, &status, 0) == pid);
	if (status)
		skip("the kernel has no 32-bit calls");
	must(!pthread_barrier_init(&set, NULL, 2) && !pthread_barrier_init(&restored, NULL, 2));
	must(!pthread_create(&t, NULL, thread, NULL));
	first = set_area(0x10000, 0xfff);
	second = set_area(0xdead0000, 0x42);
	must(first > 0 && second == first + 1);
	must(limit_of(first) == 0xfff && limit_of(second) == 0x42);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&set);
	ready();
	check(limit_of(first) == 0xfff && base_of(first) == 0x10000, "first: %lx", limit_of(first));
	check(limit_of(second) == 0x42 && base_of(second) == 0xdead0000, "second: %lx", limit_of(second));
	check(limit_of(second + 1) == -1, "one that it has not");
	pthread_barrier_wait(&restored);
	must(!pthread_join(t, NULL));
}
