/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "program.h"

CASE(.what = "a program that nobody may execute any more is refused", .refused = "nobody may execute it any more");

static void run(void)
{
	char copy[PATH_MAX];
	struct stat st;

	run_from_copy(copy);
	must(!chmod(copy, 0600));

	ready();
	check(!stat(copy, &st) && (st.st_mode & 0777) == 0600, "mode %o", st.st_mode);
}
