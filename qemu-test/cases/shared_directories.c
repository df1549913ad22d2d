/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a working directory and a umask that two processes share stay shared");

static int child(void *unused)
{
	(void)unused;
	await_file("go");
	if (umask(077) != 031)
		return 1;
	return chdir("sub") ? 2 : 0;
}

static void run(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	char cwd[PATH_MAX];
	mode_t mask;
	int status;
	pid_t pid;

	must(!mkdir("other", 0700) && !mkdir("other/sub", 0700));
	pid = clone(child, stack + sizeof(stack), CLONE_FS | SIGCHLD, NULL);
	must(pid > 0);
	/* For both. */
	must(!chdir("other"));
	umask(031);
	ready();
	check(waitpid(pid, &status, 0) == pid && status == 0, "the child's status is %#x", status);
	must(getcwd(cwd, sizeof(cwd)));
	check(strstr(cwd, "/other/sub"), "the working directory is %s", cwd);
	mask = umask(022);
	check(mask == 077, "umask %03o", mask);
}
