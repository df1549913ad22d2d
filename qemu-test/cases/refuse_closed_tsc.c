/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

/* The module cannot be asked for it. */
CASE(.what = "a program whose time stamp counter is closed is refused", .dump = "--backend mainline",
     .refused = "PR_SET_TSC");

static void run(void)
{
	int mode;

	must(!prctl(PR_SET_TSC, PR_TSC_SIGSEGV));
	ready();
	check(!prctl(PR_GET_TSC, &mode) && mode == PR_TSC_SIGSEGV, "it is %d", mode);
}
