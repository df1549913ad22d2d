/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "two processes that share an address space are refused, and go on sharing it",
     .refused = "address space");

static volatile int number;

static int child(void *unused)
{
	(void)unused;
	await_file("go");
	number = 5;
	return 0;
}

static void run(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	int status;
	pid_t pid;

	pid = clone(child, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
	must(pid > 0);
	ready();
	check(waitpid(pid, &status, 0) == pid && status == 0, "the child's status is %#x", status);
	check(number == 5, "the number is %d", number);
}
