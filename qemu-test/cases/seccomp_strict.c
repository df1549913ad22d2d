/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "seccomp.h"

#include <pthread.h>

CASE(.what = "seccomp strict mode is kept, of a process and of one thread");

/* Ends by a signal if it makes another call than read, write, exit and sigreturn. */
static int up[2], go[2];

static void be_strict(bool at_last)
{
	char byte;

	must(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
	if (write(up[1], "u", 1) != 1 || read(go[0], &byte, 1) != 1 || write(up[1], "v", 1) != 1)
		syscall(SYS_exit, 1);
	if (at_last)
		syscall(SYS_getppid);
	syscall(SYS_exit, 7);
}

static void *thread(void *arg)
{
	be_strict(false);
	return arg;
}

static void run(void)
{
	int status;
	char bytes[3];
	pid_t good, bad;
	pthread_t t;

	must(!pipe(up) && !pipe(go));
	good = fork();
	if (!good)
		be_strict(false);
	bad = fork();
	if (!bad)
		be_strict(true);
	must(!pthread_create(&t, NULL, thread, NULL));
	for (int i = 0; i < 3; i++)
		must(read(up[0], bytes, 1) == 1);
	ready();
	must(write(go[1], "ggg", 3) == 3);
	for (int i = 0; i < 3; i++)
		check(read(up[0], bytes, 1) == 1 && bytes[0] == 'v', "answer %d", i);
	check(waitpid(good, &status, 0) == good && status == 7 << 8, "one that does as it may: %#x", status);
	check(waitpid(bad, &status, 0) == bad && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
	      "one that does not: %#x", status);
	must(!pthread_join(t, NULL));
	check(prctl(PR_GET_SECCOMP) == 0, "the main thread is not under it");
}
