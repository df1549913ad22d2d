/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "pty.h"

CASE(.what = "sessions have their terminals: who is in the foreground is interrupted, who is not may not read",
     .needs_module = true);

static volatile sig_atomic_t interrupted;

static void note(int signal)
{
	if (signal == SIGWINCH)
		check(0, "a signal that nobody has sent");
	interrupted = 1;
}

/* In the foreground: is interrupted from the terminal. */
static int foreground(void)
{
	int fd;

	setpgid(0, 0);
	signal(SIGINT, note);
	signal(SIGTTOU, SIG_IGN);
	must(!tcsetpgrp(0, getpid()));
	leave_file("foreground");
	await_file("go");
	fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
	check(fd >= 0, "/dev/tty: %s", strerror(errno));
	check(tcgetpgrp(fd) == getpid(), "group %d is in the foreground, not %d", tcgetpgrp(fd), getpid());
	check(write(fd, "here", 4) == 4, "%s", strerror(errno));
	while (!interrupted)
		pause_ms(1);
	return case_failures;
}

/* In the background: is stopped if it reads. */
static int background(void)
{
	char c;

	setpgid(0, 0);
	leave_file("background");
	await_file("go");
	check(read(0, &c, 1) == 1 && c == '!', "%s", strerror(errno));
	return case_failures;
}

static int leader(const char *name)
{
	pid_t fore, back;
	int status;

	setsid();
	signal(SIGWINCH, note);
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	must(open(name, O_RDWR) == 0 && dup(0) == 1);
	must(open("log", O_WRONLY | O_CREAT | O_APPEND, 0600) == 2);
	if (!(back = fork()))
		_exit(background());
	if (!(fore = fork()))
		_exit(foreground());
	await_file("foreground");
	await_file("background");
	leave_file("session");
	await_file("go");
	check(tcgetsid(0) == getpid(), "it is the terminal of session %d", tcgetsid(0));
	check(tcgetpgrp(0) == fore, "group %d is in the foreground, not %d", tcgetpgrp(0), fore);
	check(waitpid(back, &status, WUNTRACED) == back && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTIN,
	      "the background has status %#x", status);
	check(waitpid(fore, &status, 0) == fore && !status, "the foreground has status %#x", status);
	signal(SIGTTOU, SIG_IGN);
	check(!tcsetpgrp(0, back) && !kill(-back, SIGCONT), "%s", strerror(errno));
	check(waitpid(back, &status, 0) == back && !status, "the background has status %#x", status);
	return case_failures;
}

static void run(void)
{
	struct winsize size = { .ws_row = 20, .ws_col = 30 };
	char name[64];
	int master = pty_open(name, O_CLOEXEC), status;
	size_t at;
	pid_t pid;

	must(!ioctl(master, TIOCSWINSZ, &size));
	must(!chdir(case_dir));
	must((pid = fork()) >= 0);
	if (!pid)
		_exit(leader(name));
	await_file("session");

	ready();

	at = pty_shows(master, 0, "here");
	pty_type(master, "\x03");
	pty_shows(master, at, "^C");
	pty_type(master, "!\n");
	check(waitpid(pid, &status, 0) == pid && !status, "the leader has status %#x", status);
}
