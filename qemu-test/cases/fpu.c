/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

/*
 * Two threads hold known values in registers only, and compare them again and
 * again without storing them, while they are dumped.
 */
CASE(.what = "general, x87, SSE and AVX registers survive while a thread computes with them");

static volatile int stop, bad[3], running[3];

static void *in_sse(void *arg)
{
	uint64_t a[2] = { 0x0123456789abcdefull, 0xfedcba9876543210ull }, b[2];

	(void)arg;
	__asm__ volatile(
		"movdqu %[a], %%xmm3\n"
		"movdqu %[a], %%xmm15\n"
		"movq $0x1122334455667788, %%r15\n"
		"movl $1, %[running]\n"
		"1: cmpl $0, %[stop]\n"
		"pause\n"
		"je 1b\n"
		"paddq %%xmm3, %%xmm15\n"
		"movdqu %%xmm15, %[b]\n"
		"movabsq $0x1122334455667788, %%rax\n"
		"cmpq %%rax, %%r15\n"
		"je 2f\n"
		"movl $1, %[bad]\n"
		"2:\n"
		: [b] "=m"(b), [bad] "=m"(bad[0]), [running] "=m"(running[0])
		: [a] "m"(a), [stop] "m"(stop)
		: "xmm3", "xmm15", "r15", "rax", "cc", "memory");
	check(b[0] == 2 * a[0] && b[1] == 2 * a[1], "SSE: %lx %lx", b[0], b[1]);
	return NULL;
}

static void *in_x87(void *arg)
{
	long double three;
	uint16_t control = 0x0f7f, after; /* Rounds towards zero. */

	(void)arg;
	__asm__ volatile(
		"fldcw %[control]\n"
		"fld1\nfld1\nfld1\n"
		"movl $1, %[running]\n"
		"1: cmpl $0, %[stop]\n"
		"pause\n"
		"je 1b\n"
		"faddp\nfaddp\n"
		"fstpt %[three]\n"
		"fnstcw %[after]\n"
		"fninit\n"
		: [three] "=m"(three), [after] "=m"(after), [running] "=m"(running[1])
		: [control] "m"(control), [stop] "m"(stop)
		: "st", "st(1)", "st(2)", "cc", "memory");
	check(three == 3.0L, "x87: %Lf", three);
	check(after == control, "control word %x", after);
	return NULL;
}

__attribute__((target("avx"))) static void in_avx_registers(void)
{
	uint64_t a[4] = { 1, 2ull << 60, 3, 4ull << 50 }, b[4];

	__asm__ volatile(
		"vmovdqu %[a], %%ymm7\n"
		"movl $1, %[running]\n"
		"1: cmpl $0, %[stop]\n"
		"pause\n"
		"je 1b\n"
		"vmovdqu %%ymm7, %[b]\n"
		"vzeroupper\n"
		: [b] "=m"(b), [running] "=m"(running[2])
		: [a] "m"(a), [stop] "m"(stop)
		: "xmm7", "cc", "memory");
	check(!memcmp(a, b, sizeof(a)), "AVX: %lx %lx %lx %lx", b[0], b[1], b[2], b[3]);
}

static void *in_avx(void *arg)
{
	(void)arg;
	if (__builtin_cpu_supports("avx"))
		in_avx_registers();
	else
		running[2] = 1;
	return NULL;
}

static void run(void)
{
	static void *(*const bodies[])(void *) = { in_sse, in_x87, in_avx };
	pthread_t threads[3];

	for (int i = 0; i < 3; i++)
		must(!pthread_create(&threads[i], NULL, bodies[i], NULL));
	for (int i = 0; i < 3; i++)
		while (!running[i])
			pause_ms(1);
	ready();
	stop = 1;
	for (int i = 0; i < 3; i++)
		must(!pthread_join(threads[i], NULL));
	check(!bad[0], "r15");
}
