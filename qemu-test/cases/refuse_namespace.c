/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a process in a namespace of its own is refused", .refused = "uts namespace");

static void run(void)
{
	must(!unshare(CLONE_NEWUTS));
	ready();
}
