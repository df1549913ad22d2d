/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "pty.h"

/*
 * A shell with job control, itself a job of this program, which plays the shell
 * around it: one of its jobs is stopped, one runs in the background.
 */
CASE(.what = "a shell that is dumped with its jobs has its terminal and its jobs: fg and bg work", .drives_itself = true);

static int master;
/* A job, in the foreground or not; the words of crust go into the log. */
static pid_t job(bool foreground, const char *const *argv)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (!pid) {
		must(!setpgid(0, 0) && (!foreground || !tcsetpgrp(0, getpid())));
		signal(SIGTTOU, SIG_DFL);
		if (!strcmp(argv[0], "bash")) {
			dup2(0, 1);
			dup2(0, 2);
		}
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	return pid;
}

/*
 * Waits until a job of the shell is in the foreground, and executes its
 * program: before that it ignores what stops it, as the shell does.
 */
static void await_job(pid_t shell)
{
	char path[64], name[16] = "";

	while (strncmp(name, "sleep\n", 6)) {
		pid_t group = tcgetpgrp(0);
		int fd;

		pause_ms(1);
		if (group <= 0 || group == shell)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/comm", group);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		must(fd >= 0 && read(fd, name, sizeof(name)) > 0);
		close(fd);
	}
}

#define job(foreground, ...) job(foreground, (const char *const[]){ __VA_ARGS__, NULL })

static void run(void)
{
	char name[64], pid[16];
	pid_t bash, crust;
	size_t at;
	int status, end;

	master = pty_open(name, O_CLOEXEC);
	/* We lead a session, so it becomes our terminal. */
	must(setsid() == getpid() || errno == EPERM);
	close(0);
	must(open(name, O_RDWR) == 0);
	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	signal(SIGTTOU, SIG_IGN);
	setenv("PS1", "$ ", 1);

	bash = job(true, "bash", "--norc", "--noprofile", "--noediting", "-i");
	await_program(bash);
	pty_shows(master, 0, "$ ");
	pty_type(master, "sleep 1000\n");
	at = pty_shows(master, 0, "sleep 1000");
	/* The echo comes before the job has begun. */
	await_job(bash);
	pty_type(master, "\x1a");
	at = pty_shows(master, at, "Stopped");
	pty_type(master, "sleep 2000 &\n");
	at = pty_shows(master, at, "[2]");
	pty_type(master, "echo at-$((6 * 7))\n");
	at = pty_shows(master, at, "at-42");
	at = pty_shows(master, at, "$ ");

	snprintf(pid, sizeof(pid), "%d", bash);
	/* From elsewhere: the shell reads, and must not do so in the background. */
	crust = job(false, getenv("CRUST"), "dump", "--shell-job", "--images-dir", case_dir, "--tree", pid);
	status = await_dump(crust, bash, &end);
	check(status == 0, "crust dump: status %#x", status);
	if (case_failures)
		return;
	check(WIFSIGNALED(end), "the shell's status is %#x", end);
	must(!tcsetpgrp(0, getpgrp()));
	/* Not -d: it is a job of ours. */
	crust = job(true, getenv("CRUST"), "restore", "--shell-job", "--images-dir", case_dir);
	pty_type(master, "echo again-$((7 * 7))\n");
	at = pty_shows(master, at, "again-49");
	check(tcgetpgrp(0) == bash, "group %d is in the foreground, not the shell %d", tcgetpgrp(0), bash);
	pty_type(master, "jobs; echo that-$((1 + 1))\n");
	pty_shows(master, at, "[1]+  Stopped                 sleep 1000");
	pty_shows(master, at, "[2]-  Running                 sleep 2000 &");
	at = pty_shows(master, at, "that-2");
	pty_type(master, "bg %1\n");
	at = pty_shows(master, at, "[1]+ sleep 1000 &");
	pty_type(master, "fg %1\n");
	at = pty_shows(master, at, "sleep 1000");
	await_job(bash);
	pty_type(master, "\x03");
	at = pty_shows(master, at, "$ ");
	pty_type(master, "kill %2; wait %2; echo status-$?\n");
	at = pty_shows(master, at, "status-143");
	pty_type(master, "exit 33\n");
	check(waitpid(crust, &status, 0) == crust && WIFEXITED(status) && WEXITSTATUS(status) == 33,
	      "crust restore: status %#x", status);
}
