/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

#include <sys/sendfile.h>

CASE(.what = "a program that nobody may execute any more is refused", .refused = "nobody may execute it any more");

extern char **environ;

static void run(void)
{
	char exe[PATH_MAX] = "", copy[PATH_MAX], *argv[] = { "program", (char *)case_dir, NULL };
	struct stat st;
	int from, to;

	snprintf(copy, sizeof(copy), "%s/program", case_dir);
	must(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	if (strcmp(exe, copy)) {
		from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
		to = open(copy, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
		must(from >= 0 && to >= 0 && !fstat(from, &st));
		while (st.st_size > 0) {
			ssize_t n = sendfile(to, from, NULL, st.st_size);

			must(n > 0);
			st.st_size -= n;
		}
		close(to);
		execve(copy, argv, environ);
		must(!"execve");
	}
	must(!chmod(copy, 0600));

	ready();
	check(!stat(copy, &st) && (st.st_mode & 0777) == 0600, "mode %o", st.st_mode);
}
