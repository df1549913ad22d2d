/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

#include <pthread.h>
#include <ucontext.h>

CASE(.what = "syscall user dispatch goes on: calls of a program are emulated by itself before and after");

#ifndef PR_SYS_DISPATCH_INCLUSIVE_ON
#define PR_SYS_DISPATCH_INCLUSIVE_ON 2
#endif
enum { ALLOW, BLOCK };

static char selector[2] = { ALLOW, ALLOW };
static volatile int emulated;

/* Calls from here go to the kernel. */
long straight(long nr, long a, long b, long c, long d);
extern char straight_begins[], straight_ends[];
__asm__(".pushsection .text\n"
	"straight_begins:\n"
	".globl straight\n"
	"straight:\n"
	"mov %rdi, %rax\n"
	"mov %rsi, %rdi\n"
	"mov %rdx, %rsi\n"
	"mov %rcx, %rdx\n"
	"mov %r8, %r10\n"
	"syscall\n"
	"ret\n"
	/* What a handler returns to. */
	"straight_return:\n"
	"mov $15, %eax\n"
	"syscall\n"
	"ud2\n"
	"straight_ends:\n"
	".popsection\n");
extern char straight_return[];

/* And calls from here are emulated where a range is given for that. */
long crooked(long nr);
extern char crooked_begins[], crooked_ends[];
__asm__(".pushsection .text\n"
	"crooked_begins:\n"
	".globl crooked\n"
	"crooked:\n"
	"mov %rdi, %rax\n"
	"syscall\n"
	"ret\n"
	"crooked_ends:\n"
	".popsection\n");

static void emulate(int signal, siginfo_t *info, void *context)
{
	ucontext_t *at = context;

	(void)signal;
	if (info->si_code == 2 /* SYS_USER_DISPATCH */ && info->si_syscall == SYS_getppid) {
		at->uc_mcontext.gregs[REG_RAX] = 4711;
		emulated++;
	}
}

static void go_straight(void)
{
	struct timespec t = { 0, 5000000 };
	char path[PATH_MAX];
	long fd;

	snprintf(path, sizeof(path), "%s/ready", case_dir);
	selector[0] = BLOCK;
	fd = straight(SYS_openat, AT_FDCWD, (long)path, O_WRONLY | O_CREAT, 0600);
	straight(SYS_close, fd, 0, 0, 0);
	strcpy(strrchr(path, '/'), "/go");
	while (straight(SYS_access, (long)path, F_OK, 0, 0))
		straight(SYS_nanosleep, (long)&t, 0, 0, 0);
	/* Still BLOCK: this call is emulated. */
	fd = crooked(SYS_getppid);
	selector[0] = ALLOW;
	check(fd == 4711, "getppid is %ld", fd);
}

static pthread_barrier_t set, done;
static bool has_inclusive;

static void *inclusive(void *arg)
{
	size_t length = crooked_ends - crooked_begins;

	has_inclusive = !prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_INCLUSIVE_ON, crooked_begins, length,
			       &selector[1]);
	must(has_inclusive || errno == EINVAL);
	selector[1] = BLOCK;
	if (has_inclusive)
		must(crooked(SYS_getppid) == 4711);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&done);
	if (has_inclusive)
		check(crooked(SYS_getppid) == 4711, "getppid in the range");
	check(getppid() != 4711, "getppid out of it");
	return arg;
}

static void run(void)
{
	struct {
		void *handler;
		unsigned long flags;
		void *restorer;
		uint64_t mask;
	} action = { emulate, SA_SIGINFO | 0x04000000 /* SA_RESTORER */, straight_return, 0 };
	int before;
	pthread_t t;

	must(!syscall(SYS_rt_sigaction, SIGSYS, &action, NULL, 8));
	must(!pthread_barrier_init(&set, NULL, 2) && !pthread_barrier_init(&done, NULL, 2));
	must(!pthread_create(&t, NULL, inclusive, NULL));
	pthread_barrier_wait(&set);
	must(!prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, straight_begins,
		    straight_ends - straight_begins, selector));
	selector[0] = BLOCK;
	before = getppid();
	selector[0] = ALLOW;
	must(before == 4711);
	before = emulated;
	go_straight();
	check(emulated == before + 1, "%d emulated calls", emulated - before);
	pthread_barrier_wait(&done);
	must(!pthread_join(t, NULL));
}
