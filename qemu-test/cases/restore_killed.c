/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"

CASE(.what = "a restore that is killed leaves nothing behind, and the image still restores", .drives_itself = true);

static void run(void)
{
	struct adder adder = adder_start(16);
	const char *to = images();
	pid_t pid;
	int end;

	adder_dump(&adder, to);
	for (long us = 100; us < 400000; us = us * 5 / 4) {
		pid = tool("restore", "--restore-detached", "--images-dir", to);
		/* Any instant of the tool will do. */
		usleep(us);
		kill(pid, SIGKILL);
		end = tool_end(pid);
		if (end == 0)
			break;
		/*
		 * What was made dies with the tool, and comes to us; or the tool was at its very end, and everything
		 * runs: what is killed waits in no call any more.
		 */
		check(within_patience(waitpid(-1, NULL, __WALL | WNOHANG) < 0 ||
				      call_of(adder.pid, adder.pid) == SYS_read),
		      "%ld us: what was made neither dies nor runs", us);
		if (!kill(adder.pid, 0)) {
			check(adder_works(&adder), "%ld us: something is left that does not run", us);
			adder_stop(&adder);
			return;
		}
	}
	if (end) {
		pid = tool("restore", "--restore-detached", "--images-dir", to);
		end = tool_end(pid);
	}
	check(end == 0, "restore: %d: %s", end, tool_said());
	check(adder_works(&adder), "the restored program does not run");
	adder_stop(&adder);
}
