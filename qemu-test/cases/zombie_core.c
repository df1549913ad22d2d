/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/resource.h>

CASE(.what = "a child that has dumped core has done so after the restore too");

static void run(void)
{
	struct rlimit limit;
	char pattern[128] = "";
	siginfo_t info;
	pid_t child;
	int fd, status, dumped;

	must((fd = open("/proc/sys/kernel/core_pattern", O_RDONLY)) >= 0);
	must(read(fd, pattern, sizeof(pattern) - 1) > 0);
	close(fd);
	must((child = fork()) >= 0);
	if (!child) {
		must(!getrlimit(RLIMIT_CORE, &limit));
		limit.rlim_cur = limit.rlim_max;
		must(!setrlimit(RLIMIT_CORE, &limit));
		raise(SIGABRT);
		_exit(1);
	}
	must(!waitid(P_PID, child, &info, WEXITED | WNOWAIT));
	dumped = info.si_code == CLD_DUMPED;
	if (!dumped)
		dprintf(2, "no core was dumped: %s", pattern);
	unlink("core");
	ready();
	must(!waitid(P_PID, child, &info, WEXITED | WNOWAIT));
	/* Only a core that goes to a file of the current directory can be dumped again without leaving one. */
	if (pattern[0] != '|' && !strchr(pattern, '/'))
		check(info.si_code == (dumped ? CLD_DUMPED : CLD_KILLED), "code %d", info.si_code);
	check(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
	      "status %x", status);
	check(access("core", F_OK), "there is a second core");
}
