/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "credentials.h"

CASE(.what = "a program without any privilege is dumped and restored, and has none afterwards");

static void nobody(void)
{
	struct ids was, is;

	for (int cap = 0; cap < 64; cap++)
		must(!prctl(PR_CAPBSET_DROP, cap) || errno == EINVAL);
	must(!setgroups(0, NULL));
	must(!setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
	set_caps(0, 0, 0);
	must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	was = credentials();
	must(was.bounding == 0 && was.caps[0].permitted == 0 && was.dumpable == 0);
	ready_in_child();
	is = credentials();
	same("nobody", &was, &is);
	check(setresuid(0, 0, 0) < 0 && errno == EPERM, "it can become root");
	check(setgroups(0, NULL) < 0 && errno == EPERM, "it can choose its groups");
	check(prctl(PR_CAPBSET_DROP, 0) < 0 && errno == EPERM, "it has CAP_SETPCAP");
}

static void run(void)
{
	run_in_child(nobody);
}
