/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "landlock.h"

/* The module cannot be asked for it. */
CASE(.what = "a process in a Landlock domain is refused", .dump = "--backend mainline", .refused = "Landlock domain");

static void run(void)
{
	if (!has_landlock())
		skip("the kernel has no Landlock");
	enter_landlock();
	ready();
	check(is_landlocked(), "it is not in the domain any more");
}
