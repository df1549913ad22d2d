/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a handler on an alternate stack is dumped, goes on there and returns");

static stack_t alt;
static volatile int handled;

static void handler(int signal)
{
	stack_t now;
	char here;

	(void)signal;
	must(&here > (char *)alt.ss_sp && &here < (char *)alt.ss_sp + alt.ss_size);
	ready();
	must(!sigaltstack(NULL, &now));
	check(now.ss_flags == SS_ONSTACK && now.ss_sp == alt.ss_sp, "flags %x", now.ss_flags);
	handled = 1;
}

static void run(void)
{
	struct sigaction act = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
	stack_t now;

	alt.ss_size = 1 << 16;
	alt.ss_sp = malloc(alt.ss_size);
	must(alt.ss_sp);
	must(!sigaltstack(&alt, NULL));
	must(!sigaction(SIGUSR1, &act, NULL));
	must(!raise(SIGUSR1));
	check(handled, "the handler did not end");
	must(!sigaltstack(NULL, &now));
	check(now.ss_flags == 0 && now.ss_sp == alt.ss_sp && now.ss_size == alt.ss_size,
	      "flags %x", now.ss_flags);
}
