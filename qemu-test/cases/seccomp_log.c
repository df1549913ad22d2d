/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "seccomp.h"

#include <sys/ptrace.h>

CASE(.what = "filters keep their flag SECCOMP_FILTER_FLAG_LOG, and those without it have none");

/* The flags of the filters of a child, as its tracer sees them. */
static uint64_t flags_of(pid_t pid, uint64_t filter)
{
	struct {
		uint64_t filter, flags;
	} about = { filter, 0 };

	check(ptrace(PTRACE_SECCOMP_GET_METADATA, pid, sizeof(about), &about) == sizeof(about), "filter %d: %s",
	      (int)filter, strerror(errno));
	return about.flags;
}

static void run(void)
{
	int up[2], status;
	char byte;
	pid_t pid;

	must(!pipe(up));
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		must(!deny(0, SYS_getppid, 101));
		must(!deny(SECCOMP_FILTER_FLAG_LOG, SYS_getppid, 101));
		must(!deny(SECCOMP_FILTER_FLAG_SPEC_ALLOW, SYS_getppid, 101));
		must(write(up[1], "u", 1) == 1);
		for (;;)
			pause();
	}
	must(read(up[0], &byte, 1) == 1);
	ready();
	/* The parent may be let go a moment before its child. */
	while (status_of(pid, "TracerPid"))
		pause_ms(1);
	must(!ptrace(PTRACE_SEIZE, pid, NULL, NULL) && !ptrace(PTRACE_INTERRUPT, pid, NULL, NULL));
	must(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	check(flags_of(pid, 0) == 0 && flags_of(pid, 1) == SECCOMP_FILTER_FLAG_LOG && flags_of(pid, 2) == 0, "flags");
	kill(pid, SIGKILL);
	must(waitpid(pid, &status, 0) == pid);
}
