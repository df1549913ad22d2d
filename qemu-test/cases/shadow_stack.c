/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "shadow_stack.h"

CASE(.what = "returns on a shadow stack: from calls, from a signal handler, in a child too");

enum { DEPTH = 700 };

static pid_t child;

static void handler(int signal)
{
	(void)signal;
	if (child)
		ready();
	else
		await_file("go");
}

static long bottom(void)
{
	/* The shadow stack is more than one page by now. */
	child = fork();
	must(child >= 0);
	raise(SIGUSR1);
	return 7;
}

static void run(void)
{
	struct sigaction action = { .sa_handler = handler };
	long result;
	int status;

	switch_on_shadow_stack();
	must(!sigaction(SIGUSR1, &action, NULL));
	result = descend(DEPTH, bottom);
	check(result == DEPTH + 8, "came back with %ld", result);
	check(count_shadow_stacks() == 1, "there are %d", count_shadow_stacks());
	if (!child)
		_exit(case_failures ? 1 : 0);
	check(waitpid(child, &status, 0) == child && !status, "the child ended with %#x", status);
	_exit(case_failures ? 1 : 0);
}
