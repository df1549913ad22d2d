/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <termios.h>

CASE(.what = "a restored job in a group of its own has the terminal, can be stopped, and goes on", .drives_itself = true);

static int master, tty;

/* What a shell with job control does: a child is a group of its own and, in the foreground, has the terminal. */
static pid_t job(void)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		close(master);
		setpgid(0, 0);
		signal(SIGTTOU, SIG_IGN);
		must(tcsetpgrp(0, getpid()) == 0);
		signal(SIGTTOU, SIG_DFL);
	}
	return pid;
}

/* Waits for a job to stop or end, and takes the terminal back. */
static int await_job(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, WUNTRACED) == pid);
	must(tcsetpgrp(0, getpgrp()) == 0);
	return status;
}

static void read_line(const char *expected)
{
	char line[16] = "";

	check(read(0, line, sizeof(line) - 1) > 0 && !strcmp(line, expected), "it reads %s", line);
}

static void run(void)
{
	char name[64], pid_text[16];
	pid_t program, crust;
	int status, end;

	master = posix_openpt(O_RDWR | O_NOCTTY);
	must(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	must(ptsname_r(master, name, sizeof(name)) == 0);
	must(fcntl(master, F_SETFD, FD_CLOEXEC) == 0);
	/* We lead a session, so it becomes our terminal. */
	tty = open(name, O_RDWR);
	must(tty > 2 && dup2(tty, 0) == 0);
	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	signal(SIGTTOU, SIG_IGN);

	program = job();
	if (program == 0) {
		leave_file("ready");
		read_line("first\n");
		check(getpgrp() == getpid() && tcgetpgrp(0) == getpid(), "group %d, in the foreground %d", getpgrp(),
		      tcgetpgrp(0));
		leave_file("read");
		/* Ctrl-Z comes here. */
		read_line("second\n");
		check(tcgetpgrp(0) == getpid(), "in the foreground is %d", tcgetpgrp(0));
		_exit(case_failures ? 1 : 0);
	}
	await_file("ready");
	snprintf(pid_text, sizeof(pid_text), "%d", program);
	crust = fork();
	if (crust == 0) {
		execl(getenv("CRUST"), "crust", "dump", "--shell-job", "--images-dir", case_dir, "--tree", pid_text, NULL);
		_exit(127);
	}
	status = await_dump(crust, program, &end);
	check(status == 0, "crust dump: status %#x", status);
	if (case_failures)
		return;
	must(tcsetpgrp(0, getpgrp()) == 0);
	check(WIFSIGNALED(end), "the job's status is %#x", end);

	crust = job();
	if (crust == 0) {
		execl(getenv("CRUST"), "crust", "restore", "--shell-job", "--images-dir", case_dir, NULL);
		_exit(127);
	}
	must(write(master, "first\n", 6) == 6);
	await_file("read");
	if (tcgetpgrp(0) != program)
		check(0, "in the foreground is %d, not %d", tcgetpgrp(0), program);
	must(write(master, "\x1a", 1) == 1);
	status = await_job(crust);
	check(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP, "crust: status %#x", status);
	/* As `fg` does. */
	must(tcsetpgrp(0, crust) == 0);
	must(kill(-crust, SIGCONT) == 0);
	must(write(master, "second\n", 7) == 7);
	status = await_job(crust);
	check(status == 0, "the job's status is %#x", status);
}
