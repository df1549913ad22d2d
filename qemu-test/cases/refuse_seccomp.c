/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <linux/filter.h>
#include <linux/seccomp.h>

CASE(.what = "a process with seccomp filters is refused", .refused = "seccomp");

static void run(void)
{
	struct sock_filter allow[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog program = { 1, allow };

	must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	must(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
	ready();
}
