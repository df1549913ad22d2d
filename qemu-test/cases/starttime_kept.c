/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "starttime.h"

CASE(.what = "a program that keeps its clocks sees the start times that it saw", .needs_module = true,
     .restore = "--keep-clocks");

static void run(void)
{
	keep_start_times();
}
