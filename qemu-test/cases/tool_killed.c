/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"

CASE(.what = "a tool that is killed while it dumps leaves the program running, and half an image nowhere",
     .drives_itself = true);

/* Kills the tool `us` microseconds into its dump; returns whether it had finished before. */
static bool killed_after(int signal, long us)
{
	struct adder adder = adder_start(16);
	const char *to = images();
	char number[16];
	bool finished;
	pid_t pid;
	int end;

	must(adder_works(&adder));
	snprintf(number, sizeof(number), "%d", adder.pid);
	pid = tool("dump", "--leave-running", "--tree", number, "--images-dir", to);
	usleep(us);
	kill(pid, signal);
	end = tool_end(pid);
	finished = end == 0;
	if (signal == SIGINT)
		/* Before it holds anything of the program it may simply die. */
		check(end == 0 || end == 1 || end == -SIGINT, "after SIGINT: %d: %s", end, tool_said());
	check(adder_works(&adder), "%ld us: the program does not run (%s)", us, tool_said());
	check(status_of(adder.pid, "TracerPid") == 0, "%ld us: it is still traced", us);
	/* The image is complete or absent: at most one name, no leftover. */
	check(names_in(to) <= 1, "%ld us: %d names in the directory", us, names_in(to));
	check(!finished || names_in(to) == 1, "%ld us: no image though the dump succeeded", us);
	adder_stop(&adder);
	return finished;
}

static void run(void)
{
	/* From before its first system call to after its last. */
	for (int signal = SIGINT; signal; signal = signal == SIGINT ? SIGKILL : 0)
		for (long us = 100; us < 400000 && !killed_after(signal, us); us = us * 5 / 4)
			;
}
