/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"

#include <grp.h>

CASE(.what = "a restore by who may not ends in one clear error, and leaves nothing behind", .drives_itself = true);

static char image[PATH_MAX + 16];

static void another_user(void)
{
	must(!setgroups(0, NULL) && !setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
}

static void without_setuid(void)
{
	must(!prctl(PR_CAPBSET_DROP, 7 /* CAP_SETUID */));
}

static void without_chown(void)
{
	must(!prctl(PR_CAPBSET_DROP, 0 /* CAP_CHOWN */));
}

/* A restore by a process that has become somebody must fail and say why. */
static void restore_as(const char *who, void (*become)(void), const char *why, pid_t program)
{
	int status;
	pid_t pid;
	char said[PATH_MAX];

	snprintf(said, sizeof(said), "%s/said", case_dir);
	unlink(said);
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		char crust[32];
		const char *text, *first;
		int end;

		/* The tool may be where only root can go. */
		snprintf(crust, sizeof(crust), "/proc/self/fd/%d", open(getenv("CRUST"), O_PATH));
		must(!setenv("CRUST", crust, 1));
		case_failures = 0;
		become();
		end = tool_end(tool("restore", "--restore-detached", image));
		text = tool_said();
		check(end == 1 || end == 3, "%s: %d: %s", who, end, text);
		check(strstr(text, why), "%s: it does not say `%s`: %s", who, why, text);
		first = strstr(text, "crust: ");
		check(first && !strstr(first + 1, "crust: "), "%s: not one error: %s", who, text);
		_exit(case_failures ? 1 : 0);
	}
	must(waitpid(pid, &status, 0) == pid);
	check(!status, "%s: %#x", who, status);
	check(kill(program, 0) < 0 && errno == ESRCH, "%s: something is left", who);
	check(waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD, "%s: a process is left", who);
	unlink(said);
}

static void run(void)
{
	struct adder adder = adder_start(1);
	const char *to = images();
	int end;

	snprintf(image, sizeof(image), "%s/crust.img", to);
	adder_dump(&adder, to);
	must(!chmod(case_dir, 0777) && !chmod(to, 0777));
	restore_as("who may not read it", another_user, "ermission", adder.pid);
	must(!chmod(image, 0644));
	restore_as("another user", another_user, "run crust as root", adder.pid);
	restore_as("root without CAP_SETUID", without_setuid, "SETUID", adder.pid);
	restore_as("root without what the program has", without_chown, "CHOWN", adder.pid);
	end = tool_end(tool("restore", "--restore-detached", "--images-dir", to));
	check(end == 0, "restore: %d: %s", end, tool_said());
	check(adder_works(&adder), "the restored program does not run");
	adder_stop(&adder);
}
