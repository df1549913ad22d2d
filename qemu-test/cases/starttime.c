/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "starttime.h"

CASE(.what = "the start times of processes and threads are kept", .needs_module = true);

static void run(void)
{
	keep_start_times();
}
