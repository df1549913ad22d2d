/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "umask, working directory and root directory are kept");

static void run(void)
{
	char path[PATH_MAX], now[PATH_MAX], again[PATH_MAX];
	struct stat was, is;
	int ends[2], status;
	pid_t pid;
	char byte;

	must(!mkdir("a name with spaces (deleted)", 0755) || errno == EEXIST);
	must(!chdir("a name with spaces (deleted)"));
	must(getcwd(path, sizeof(path)));
	umask(0137);
	must(!pipe(ends));
	must((pid = fork()) >= 0);
	if (!pid) {
		close(ends[1]);
		must(!mkdir("root", 0755) || errno == EEXIST);
		must(!chmod("root", 0755));
		must(!chdir("root"));
		must(!chroot("."));
		must(!stat("/", &was));
		/* At the end of the pipe there is its parent. */
		must(read(ends[0], &byte, 1) == 1);
		must(!stat("/", &is));
		check(was.st_ino == is.st_ino && was.st_dev == is.st_dev, "another root");
		check(getcwd(again, sizeof(again)) && !strcmp(again, "/"), "it is in %s", again);
		check(access("/proc", F_OK) < 0, "there is /proc");
		_exit(case_failures ? 1 : 0);
	}
	await_call(pid, SYS_read);
	ready();
	check(umask(0) == 0137, "umask");
	check(getcwd(now, sizeof(now)) && !strcmp(now, path), "it is in %s", now);
	must(write(ends[1], "g", 1) == 1);
	check(waitpid(pid, &status, 0) == pid && status == 0, "status %x", status);
}
