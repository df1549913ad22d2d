/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "seccomp.h"

CASE(.what = "seccomp filters are kept in their order, whatever they forbid");

static void run(void)
{
	pid_t self = getpid();

	must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	/* Of two verdicts of the same weight that of the later filter counts. */
	must(!deny(0, SYS_getppid, 101));
	must(!deny(0, SYS_getppid, 102));
	must(!deny(SECCOMP_FILTER_FLAG_LOG, SYS_getuid, 103));
	must(!deny(SECCOMP_FILTER_FLAG_SPEC_ALLOW, SYS_getgid, 104));
	must(!filter_calls(0, (const int[]){ SYS_getuid, SYS_getgid, SYS_getppid, SYS_openat, SYS_close, SYS_access,
					     SYS_faccessat, SYS_clock_nanosleep, SYS_restart_syscall, SYS_read,
					     SYS_write, SYS_exit_group, -1 },
			   SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS));
	ready();
	check(error_of(SYS_getppid) == 102, "getppid: %s", strerror(errno));
	check(error_of(SYS_getuid) == 103, "getuid: %s", strerror(errno));
	check(error_of(SYS_getgid) == 104, "getgid: %s", strerror(errno));
	check(status_number(self, "Seccomp:") == 2 && status_number(self, "Seccomp_filters:") == 5 &&
	      status_number(self, "NoNewPrivs:") == 1, "%ld filters", status_number(self, "Seccomp_filters:"));
}
