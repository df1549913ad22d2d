/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>
#include <stddef.h>

/*
 * A thread spins within a restartable sequence. When it is taken off the
 * processor there, the kernel must send it to the abort handler, also if what
 * took it off was a dump. It unregisters the C library's area and has its own.
 */
CASE(.what = "a restartable sequence under way is aborted and not simply continued");

struct area {
	uint32_t cpu_id_start, cpu_id;
	uint64_t rseq_cs;
	uint32_t flags, node_id, mm_cid, pad;
} __attribute__((aligned(32)));

static struct area mine;
static volatile long aborts, in_sequence;

extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

static void spin(void)
{
	/* It can only be left by an abort. */
	__asm__ volatile(
		".pushsection __rseq_cs_case, \"aw\"\n"
		".balign 32\n"
		"77: .long 0, 0\n"
		".quad 78f, (79f - 78f), 76f\n"
		".popsection\n"
		"leaq 77b(%%rip), %%rax\n"
		"movq %%rax, %[cs]\n"
		"78:\n"
		"movq $1, %[in]\n"
		"75: pause\n"
		"jmp 75b\n"
		"79:\n"
		".pushsection __rseq_abort_case, \"ax\"\n"
		".byte 0x0f, 0xb9, 0x3d\n"
		".long 0x53053053\n"
		"76:\n"
		"incq %[aborts]\n"
		"jmp 74f\n"
		".popsection\n"
		"74:\n"
		: [cs] "=m"(mine.rseq_cs), [in] "=m"(in_sequence), [aborts] "+m"(aborts)
		:
		: "rax", "memory", "cc");
}

static void *body(void *arg)
{
	(void)arg;
	if (&__rseq_size && __rseq_size)
		must(!syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset,
			      __rseq_size < 32 ? 32 : __rseq_size, 1, 0x53053053));
	must(!syscall(SYS_rseq, &mine, 32, 0, 0x53053053));
	while (access("go", F_OK))
		spin();
	must(!syscall(SYS_rseq, &mine, 32, 1, 0x53053053));
	return NULL;
}

static void run(void)
{
	pthread_t thread;

	must(!pthread_create(&thread, NULL, body, NULL));
	while (!in_sequence)
		pause_ms(1);
	ready();
	/* Hangs if the thread is never sent to its abort handler again. */
	pthread_join(thread, NULL);
	check(aborts > 0, "no abort");
}
