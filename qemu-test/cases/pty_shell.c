/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "pty.h"

CASE(.what = "a shell in a terminal of its parent's goes on, with its jobs and its variables", .needs_module = true);

static void run(void)
{
	char name[64];
	int master = pty_open(name, O_CLOEXEC), status;
	size_t at;
	pid_t pid;

	setenv("PS1", "$ ", 1);
	must((pid = fork()) >= 0);
	if (!pid) {
		setsid();
		for (int fd = 0; fd < 3; fd++)
			close(fd);
		must(open(name, O_RDWR) == 0 && dup(0) == 1 && dup(0) == 2);
		execlp("bash", "bash", "--norc", "--noprofile", "--noediting", "-i", NULL);
		_exit(127);
	}
	await_program(pid);
	at = pty_shows(master, 0, "$ ");
	pty_type(master, "x=41; sleep 2000 &\n");
	at = pty_shows(master, at, "[1]");
	at = pty_shows(master, at, "$ ");
	pty_type(master, "sleep 1000; echo over-$x\n");
	at = pty_shows(master, at, "over-$x\r\n");
	/* The echo comes before the job has begun. */
	while (tcgetpgrp(master) == pid)
		pause_ms(1);

	ready();

	check(tcgetpgrp(master) != pid, "the job is not in the foreground");
	pty_type(master, "\x03");
	at = pty_shows(master, at, "$ ");
	pty_type(master, "echo that-$((x + 1)); jobs\n");
	at = pty_shows(master, at, "that-42");
	at = pty_shows(master, at, "Running");
	pty_type(master, "kill %1; wait %1; exit 33\n");
	check(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 33, "status %#x", status);
}
