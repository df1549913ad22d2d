/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "credentials.h"
#include "seccomp.h"

CASE(.what = "a filter that was installed before the privileges went is kept, without no_new_privs");

static void child(void)
{
	must(!deny(0, SYS_getppid, 101));
	must(!setgroups(0, NULL) && !setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
	set_caps(0, 0, 0);
	must(deny(0, SYS_getppid, 102) && errno == EACCES);
	ready_in_child();
	check(error_of(SYS_getppid) == 101, "getppid: %s", strerror(errno));
	check(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0, "no_new_privs");
	check(deny(0, SYS_getppid, 102) && errno == EACCES, "it can install filters");
}

static void run(void)
{
	run_in_child(child);
}
