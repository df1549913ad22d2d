/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "1,000 generations of one child each go on, each with its number, its parent and its child");

enum { DEPTH = 1000 };

static int up[2], go[2];

/* Ends when its child has ended well. */
static void __attribute__((noreturn)) generation(int number, pid_t parent)
{
	pid_t itself = getpid(), child = 0;
	char byte = 0;
	int status;

	close(go[1]);
	if (number < DEPTH) {
		must((child = fork()) >= 0);
		if (!child)
			generation(number + 1, itself);
	} else {
		must(write(up[1], &byte, 1) == 1);
	}
	check(!read(go[0], &byte, 1), "generation %d: it was let go by something else", number);
	check(getpid() == itself && getppid() == parent, "generation %d: %d of %d", number, getpid(), getppid());
	if (child)
		check(wait(&status) == child && !status, "generation %d: its child ended with %x", number, status);
	_exit(!!case_failures);
}

static void run(void)
{
	pid_t itself = getpid(), child;
	char byte;
	int status;

	must(!pipe(up) && !pipe(go));
	must((child = fork()) >= 0);
	if (!child)
		generation(1, itself);
	must(read(up[0], &byte, 1) == 1);
	ready();
	close(go[1]);
	check(waitpid(child, &status, 0) == child && !status, "the first child ended with %x", status);
	check(wait(&status) == -1 && errno == ECHILD, "one child too many");
}
