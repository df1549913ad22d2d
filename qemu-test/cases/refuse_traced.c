/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"
#include <sys/ptrace.h>

CASE(.what = "a thread that somebody else traces is refused, and stays traced", .drives_itself = true);

static int asked[2], answered[2];

/* Has two threads; the second one answers. */
static int body(void *unused)
{
	char c;

	(void)unused;
	while (read(asked[0], &c, 1) == 1)
		if (write(answered[1], &c, 1) != 1)
			return 1;
	return 0;
}

static void run(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	char number[16], c;
	pid_t child, tid;
	int status, end;

	must(!pipe(asked) && !pipe(answered));
	must((child = fork()) >= 0);
	if (!child) {
		setsid();
		tid = clone(body, stack + sizeof(stack),
			    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD, NULL);
		must(tid > 0 && write(answered[1], &tid, sizeof(tid)) == sizeof(tid));
		for (;;)
			pause();
	}
	must(read(answered[0], &tid, sizeof(tid)) == sizeof(tid));
	must(!ptrace(PTRACE_SEIZE, tid, 0, 0));
	snprintf(number, sizeof(number), "%d", child);
	end = tool_end(tool("dump", "--tree", number, "--images-dir", case_dir));
	check(end == 3 && strstr(tool_said(), "traces it already"), "%d: %s", end, tool_said());
	must(write(asked[1], "y", 1) == 1);
	check(read(answered[0], &c, 1) == 1 && c == 'y', "it does not go on");
	must(!ptrace(PTRACE_INTERRUPT, tid, 0, 0));
	check(waitpid(tid, &status, __WALL) == tid && status >> 16 == PTRACE_EVENT_STOP, "status %x", status);
	kill(child, SIGKILL);
}
