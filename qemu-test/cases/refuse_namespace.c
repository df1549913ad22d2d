/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/utsname.h>

CASE(.what = "a process in a namespace of its own is refused", .refused = "uts namespace");

static void run(void)
{
	struct utsname uts;

	must(!unshare(CLONE_NEWUTS) && !sethostname("case", 4));
	ready();
	check(!uname(&uts) && !strcmp(uts.nodename, "case"), "it is in the namespace of %s", uts.nodename);
}
