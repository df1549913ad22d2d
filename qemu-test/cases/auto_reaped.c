/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a child that reaps itself (CLONE_AUTOREAP) does so after the restore too", .needs_module = true);

static void run(void)
{
	/* struct clone_args */
	uint64_t args[11] = { 1ULL << 34 };
	pid_t child;
	int status;

	must((child = syscall(SYS_clone3, args, sizeof(args))) >= 0);
	if (!child) {
		await_file("end");
		_exit(5);
	}
	ready();
	check(!kill(child, 0), "it is not there");
	leave_file("end");
	/* It leaves no zombie, so its number becomes free. */
	while (!kill(child, 0))
		pause_ms(1);
	unlinkat(AT_FDCWD, "end", 0);
	check(waitpid(-1, &status, __WALL) == -1 && errno == ECHILD, "it left a zombie");
}
