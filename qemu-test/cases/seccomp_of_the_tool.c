/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"

#include "seccomp.h"

CASE(.what = "a tool whose own calls are filtered says what it cannot do with a program that has filters",
     .drives_itself = true);

/* Runs something in a child with a filter, and so with a filtered tool. */
static void filtered(void (*body)(void))
{
	int status;
	pid_t pid = fork();

	must(pid >= 0);
	if (!pid) {
		case_failures = 0;
		must(!deny(0, SYS_getpgrp, 101));
		body();
		_exit(case_failures ? 1 : 0);
	}
	must(waitpid(pid, &status, 0) == pid);
	check(!status, "%#x", status);
}

static struct adder adder;

static void dump_is_refused(void)
{
	int end;

	adder = adder_start(1);
	must(adder_works(&adder));
	end = tool_end(tool("dump", "--tree", adder.number, "--images-dir", images()));
	check(end == 3 && strstr(tool_said(), "CAP_SYS_ADMIN, and that crust has none itself"), "dump: %d: %s", end,
	      tool_said());
	check(names_in(images()) == 0 && adder_works(&adder), "it does not go on");
	adder_stop(&adder);
}

/* Of the image of a program that has none. */
static void restore_tells(void)
{
	int end;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	/* The image is not removed by this. */
	end = tool_end(tool("restore", "--restore-detached", "--images-dir", case_dir));
	check(end == 0 && strstr(tool_said(), "the system calls of crust are filtered"), "restore: %d: %s", end, tool_said());
	check(adder_works(&adder), "the restored program does not run");
	adder_stop(&adder);
}

static void restore_is_refused(void)
{
	int end = tool_end(tool("restore", "--restore-detached", "--images-dir", case_dir));

	check(end == 3 && strstr(tool_said(), "CAP_SYS_ADMIN, and that crust has none itself"), "restore: %d: %s", end,
	      tool_said());
	check(kill(adder.pid, 0) < 0 && errno == ESRCH, "something is left");
}

static void run(void)
{
	int end, status;

	filtered(dump_is_refused);

	adder = adder_start(1);
	adder_dump(&adder, case_dir);
	filtered(restore_tells);

	adder.pid = fork();
	must(adder.pid >= 0);
	if (!adder.pid) {
		must(!deny(0, SYS_getpgrp, 101));
		setsid();
		for (;;)
			pause();
	}
	while (status_of(adder.pid, "Seccomp") != 2)
		pause_ms(1);
	snprintf(adder.number, sizeof(adder.number), "%d", adder.pid);
	tool_dumps(tool("dump", "--tree", adder.number, "--images-dir", case_dir), adder.pid);
	filtered(restore_is_refused);
	end = tool_end(tool("restore", "--restore-detached", "--images-dir", case_dir));
	check(end == 0 && status_of(adder.pid, "Seccomp") == 2, "restore: %d: %s", end, tool_said());
	kill(adder.pid, SIGKILL);
	must(waitpid(adder.pid, &status, 0) == adder.pid);
}
