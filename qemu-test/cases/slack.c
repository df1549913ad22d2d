/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

CASE(.what = "the default timer slack, which a thread has from its creator, is kept", .needs_module = true);

static void *body(void *arg)
{
	(void)arg;
	must(!prctl(PR_SET_TIMERSLACK, 7777));
	leave_file("set");
	await_file("go");
	check(prctl(PR_GET_TIMERSLACK) == 7777, "slack %d", prctl(PR_GET_TIMERSLACK));
	must(!prctl(PR_SET_TIMERSLACK, 0));
	check(prctl(PR_GET_TIMERSLACK) == 66666, "default slack %d", prctl(PR_GET_TIMERSLACK));
	return NULL;
}

static void run(void)
{
	pthread_t thread;

	must(!prctl(PR_SET_TIMERSLACK, 66666));
	must(!pthread_create(&thread, NULL, body, NULL));
	must(!prctl(PR_SET_TIMERSLACK, 0));
	await_file("set");
	ready();
	check(prctl(PR_GET_TIMERSLACK) == 50000, "slack %d", prctl(PR_GET_TIMERSLACK));
	pthread_join(thread, NULL);
}
