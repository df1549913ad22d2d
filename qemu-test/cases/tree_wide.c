/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "1,000 children of one process go on, each with its number, its parent and its own memory");

enum { COUNT = 1000 };

static int up[2], go[2];

/* It waits in a read, and ends with a status that says who it is. */
static void __attribute__((noreturn)) child(int number, pid_t parent)
{
	pid_t itself = getpid();
	char byte = 0;

	close(go[1]);
	must(write(up[1], &byte, 1) == 1);
	check(!read(go[0], &byte, 1), "child %d: it was let go by something else", number);
	check(getpid() == itself && getppid() == parent, "child %d: %d of %d", number, getpid(), getppid());
	_exit(case_failures ? 255 : number % 251);
}

static void run(void)
{
	static pid_t children[COUNT];
	pid_t itself = getpid();
	char byte;
	int status;

	must(!pipe(up) && !pipe(go));
	for (int i = 0; i < COUNT; i++) {
		must((children[i] = fork()) >= 0);
		if (!children[i])
			child(i, itself);
	}
	for (int i = 0; i < COUNT; i++)
		must(read(up[0], &byte, 1) == 1);
	ready();
	close(go[1]);
	for (int i = 0; i < COUNT; i++) {
		check(waitpid(children[i], &status, 0) == children[i], "child %d is not there", i);
		check(WIFEXITED(status) && WEXITSTATUS(status) == i % 251, "child %d: status %x", i, status);
	}
	check(waitpid(-1, &status, 0) == -1 && errno == ECHILD, "one child too many");
}
