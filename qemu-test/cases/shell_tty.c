/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/ioctl.h>
#include <termios.h>

CASE(.what = "a shell job gets the terminal of the shell that restores it", .drives_itself = true);

/* Runs crust with the terminal as standard input, its words into the log. */
static pid_t crust(const char *verb, const char *option, const char *value)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		execl(getenv("CRUST"), "crust", verb, "--shell-job", "--images-dir", case_dir,
		      option, value, (char *)NULL);
		_exit(127);
	}
	return pid;
}

/* A shell's work: a session with a terminal, a job in a group of its own. */
static void run(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), tty, status, end;
	struct termios settings;
	char pid_text[16], buf[128] = "", name[64];
	pid_t job, restore;

	must(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	must(ptsname_r(master, name, sizeof(name)) == 0);
	must(fcntl(master, F_SETFD, FD_CLOEXEC) == 0);
	/* We lead a session, so it becomes our terminal. */
	tty = open(name, O_RDWR);
	must(tty > 2 && dup2(tty, 0) == 0);
	must(tcgetattr(tty, &settings) == 0);
	settings.c_lflag &= ~ECHO;
	must(tcsetattr(tty, TCSANOW, &settings) == 0);
	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	signal(SIGTTOU, SIG_IGN);

	job = fork();
	must(job >= 0);
	if (job == 0) {
		close(master);
		setpgid(0, 0);
		must(fcntl(tty, F_SETFL, O_NONBLOCK) == 0);
		leave_file("ready");
		await_file("go");
		check(isatty(0) && isatty(tty), "no terminal");
		check(fcntl(tty, F_GETFL) & O_NONBLOCK, "flags %#o", fcntl(tty, F_GETFL));
		check(tcgetattr(tty, &settings) == 0 && !(settings.c_lflag & ECHO), "its settings");
		must(fcntl(tty, F_SETFL, 0) == 0);
		check(write(tty, "from the job\n", 13) == 13, "%s", strerror(errno));
		_exit(case_failures ? 1 : 0);
	}
	await_file("ready");
	snprintf(pid_text, sizeof(pid_text), "%d", job);
	status = await_dump(crust("dump", "--tree", pid_text), job, &end);
	check(status == 0, "crust dump: status %#x", status);
	if (case_failures)
		return;
	check(WIFSIGNALED(end), "the job's status is %#x", end);
	settings.c_lflag |= ECHO;
	must(tcsetattr(0, TCSANOW, &settings) == 0);
	restore = crust("restore", "--restore-detached", NULL);
	check(waitpid(restore, &status, 0) == restore && status == 0, "crust restore: status %#x", status);
	if (case_failures)
		return;
	leave_file("go");
	check(waitpid(job, &status, 0) == job && status == 0, "the restored job's status is %#x", status);
	check(read(master, buf, sizeof(buf)) > 0 && strstr(buf, "from the job"), "the terminal shows %s", buf);
}
