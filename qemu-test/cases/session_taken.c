/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"

CASE(.what = "a restore says who is in the session that it needs, if others are, and makes nothing", .drives_itself = true);

/* Leads a session that an orphan in a group of its own is in too, which is not of the tree. */
static pid_t start(pid_t *orphan)
{
	int ends[2], status;
	pid_t pid, child;

	must(!pipe(ends));
	must((pid = fork()) >= 0);
	if (!pid) {
		must(setsid() == getpid() && (child = fork()) >= 0);
		if (!child) {
			must(!setpgid(0, 0) && (child = fork()) >= 0);
			if (!child)
				for (;;)
					pause();
			_exit(write(ends[1], &child, sizeof(child)) != sizeof(child));
		}
		must(waitpid(child, &status, 0) == child && status == 0);
		must(dup2(open("/dev/null", O_RDWR), 0) == 0 && dup2(0, 1) == 1 && dup2(0, 2) == 2);
		for (int fd = 3; fd < 64; fd++)
			close(fd);
		leave_file("set");
		for (;;)
			pause();
	}
	must(read(ends[0], orphan, sizeof(*orphan)) == sizeof(*orphan));
	await_file("set");
	return pid;
}

static void run(void)
{
	const char *to = images();
	char number[16], session[64];
	pid_t pid, orphan;
	int end;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	pid = start(&orphan);
	snprintf(number, sizeof(number), "%d", pid);
	tool_dumps(tool("dump", "--tree", number, "--images-dir", to), pid);

	end = tool_end(tool("restore", "--restore-detached", "--images-dir", to));
	check(end == 4, "restore: %d: %s", end, tool_said());
	snprintf(session, sizeof(session), "the session in which process %d ", orphan);
	check(strstr(tool_said(), session), "the conflict does not say `%s`: %s", session, tool_said());
	check(kill(pid, 0) && errno == ESRCH, "something was made");

	must(!kill(orphan, SIGKILL) && waitpid(orphan, NULL, 0) == orphan);
	end = tool_end(tool("restore", "--restore-detached", "--images-dir", to));
	check(end == 0, "restore: %d: %s", end, tool_said());
	check(getsid(pid) == pid, "session %d was %d", getsid(pid), pid);
	must(!kill(pid, SIGKILL) && waitpid(pid, NULL, 0) == pid);
}
