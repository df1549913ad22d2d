/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"

CASE(.what = "what cannot be dumped is refused in one clear error", .drives_itself = true);

static void expect_failure(const char *pid, const char *why)
{
	int end = tool_end(tool("dump", "--tree", pid, "--images-dir", images()));

	check(end == 1 || end == 2 || end == 3, "dump of %s: %d: %s", pid, end, tool_said());
	check(strstr(tool_said(), why), "dump of %s does not say `%s`: %s", pid, why, tool_said());
	check(!strstr(tool_said(), "panicked"), "%s", tool_said());
	check(names_in(images()) == 0, "something was left");
}

static void run(void)
{
	struct adder adder = adder_start(1);
	int status;
	pid_t pid;

	/* Nobody has this number: it is beyond pid_max. */
	expect_failure("4194305", "4194305");
	/* A kernel thread has no memory. */
	expect_failure("2", "2");
	expect_failure("0", "0");
	expect_failure("nonsense", "nonsense");
	/* Somebody who may not. */
	must(adder_works(&adder));
	must(!chmod(case_dir, 0777) && !chmod(images(), 0777));
	pid = fork();
	if (!pid) {
		char path[PATH_MAX], crust[32];
		int end;

		snprintf(path, sizeof(path), "%s/said", case_dir);
		unlink(path);
		/* The tool may be where only root can go. */
		snprintf(crust, sizeof(crust), "/proc/self/fd/%d", open(getenv("CRUST"), O_PATH));
		must(!setenv("CRUST", crust, 1));
		must(!setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
		end = tool_end(tool("dump", "--tree", adder.number, "--images-dir", images()));
		check(end == 1 || end == 3, "dump by another user: %d: %s", end, tool_said());
		check(strstr(tool_said(), "EPERM") || strstr(tool_said(), "EACCES") ||
		      strstr(tool_said(), "ermission") || strstr(tool_said(), "permitted"),
		      "it does not say that it may not: %s", tool_said());
		_exit(case_failures);
	}
	must(waitpid(pid, &status, 0) == pid);
	check(status == 0, "dump by another user: %#x", status);
	check(adder_works(&adder), "the program does not run");
	adder_stop(&adder);
}
