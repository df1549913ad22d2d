/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "seccomp.h"

#include <grp.h>
#include <linux/capability.h>

CASE(.what = "a filter that was installed before the privileges went is kept, without no_new_privs");

static void run(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2] = { 0 };
	int up[2], go[2], status;
	char byte;
	pid_t pid;

	must(!pipe(up) && !pipe(go));
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		must(!deny(0, SYS_getppid, 101));
		must(!setgroups(0, NULL) && !setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
		must(!syscall(SYS_capset, &header, none));
		must(deny(0, SYS_getppid, 102) && errno == EACCES);
		must(write(up[1], "u", 1) == 1);
		must(read(go[0], &byte, 1) == 1);
		check(error_of(SYS_getppid) == 101, "getppid: %s", strerror(errno));
		check(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0, "no_new_privs");
		check(deny(0, SYS_getppid, 102) && errno == EACCES, "it can install filters");
		_exit(case_failures ? 1 : 0);
	}
	must(read(up[0], &byte, 1) == 1);
	ready();
	must(write(go[1], "g", 1) == 1);
	check(waitpid(pid, &status, 0) == pid && !status, "child: %#x", status);
}
