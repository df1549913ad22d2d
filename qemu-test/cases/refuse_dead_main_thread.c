/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

CASE(.what = "a process whose main thread has ended is refused", .refused = "main thread");

static void *body(void *arg)
{
	pid_t pid = getpid();
	char state[64], text[256] = "";
	int fd;

	(void)arg;
	snprintf(state, sizeof(state), "/proc/%d/task/%d/stat", pid, pid);
	/* Until the main thread is a zombie. */
	while (!strstr(text, ") Z")) {
		must((fd = open(state, O_RDONLY)) >= 0);
		must(read(fd, text, sizeof(text) - 1) > 0);
		close(fd);
	}
	ready();
	_exit(case_failures ? 1 : 0);
}

static void run(void)
{
	pthread_t thread;

	must(!pthread_create(&thread, NULL, body, NULL));
	pthread_exit(NULL);
}
