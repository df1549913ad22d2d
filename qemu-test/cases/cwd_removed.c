/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a working directory that was removed is refused", .refused = "working directory");

static void run(void)
{
	char path[PATH_MAX] = "";
	struct stat here;

	must(!mkdir("gone", 0755));
	must(!chdir("gone"));
	must(!rmdir("../gone"));
	ready();
	check(!stat(".", &here) && here.st_nlink == 0, "it is somewhere else");
	check(!getcwd(path, sizeof(path)) && errno == ENOENT, "it is in %s", path);
}
