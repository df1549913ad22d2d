/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a working directory that was removed is refused", .refused = "working directory");

static void run(void)
{
	must(!mkdir("gone", 0755));
	must(!chdir("gone"));
	must(!rmdir("../gone"));
	ready();
}
