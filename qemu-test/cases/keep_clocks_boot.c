/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "clock.h"
#include "tool.h"

/*
 * A machine that has run for long, with a program and a tool, is played by a
 * time namespace in which both are. For the tool that restores it, which is not, the
 * machine has been started again since.
 */
CASE(.what = "after a reboot a clock that goes back is named, and does not with --keep-clocks", .drives_itself = true);

static int ask, answer;

/* The program tells what its clock says. */
static void tell(void)
{
	int from, to;
	char c;

	setsid();
	from = dup2(open("ask", O_RDWR), 3);
	to = dup2(open("answer", O_RDWR), 4);
	must(from == 3 && to == 4);
	syscall(SYS_close_range, 5U, ~0U, 0U);
	for (int fd = 0; fd < 3; fd++)
		must(dup2(open("/dev/null", O_RDWR), fd) == fd);
	syscall(SYS_close_range, 5U, ~0U, 0U);
	while (read(from, &c, 1) == 1) {
		int64_t now = clock_now(CLOCK_MONOTONIC);

		if (write(to, &now, sizeof(now)) != sizeof(now))
			break;
	}
	_exit(1);
}

static int64_t told(void)
{
	struct pollfd p = { answer, POLLIN, 0 };
	int64_t now = -1;

	must(write(ask, "?", 1) == 1);
	check(poll(&p, 1, PATIENCE_MS) == 1 && read(answer, &now, sizeof(now)) == sizeof(now), "the program does not run");
	return now;
}

static void dump(pid_t pid)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", pid);
	tool_dumps(tool("dump", "--tree", number, "--images-dir", images()), pid);
}

/* On the machine that has run for long: starts the program and dumps it. What its clock said is written to a pipe. */
static void long_running(int report)
{
	static const char offsets[] = "monotonic 10000000 0\nboottime 10000000 0\n";
	struct { pid_t pid; int64_t now; } last;
	int fd, status;
	pid_t machine;

	must(!unshare(CLONE_NEWTIME));
	must((fd = open("/proc/self/timens_offsets", O_WRONLY)) >= 0);
	must(write(fd, offsets, sizeof(offsets) - 1) == sizeof(offsets) - 1);
	close(fd);
	must((machine = fork()) >= 0);
	if (!machine) {
		must((last.pid = fork()) >= 0);
		if (!last.pid)
			tell();
		last.now = told();
		dump(last.pid);
		must(write(report, &last, sizeof(last)) == sizeof(last));
		_exit(case_failures);
	}
	must(waitpid(machine, &status, 0) == machine);
	_exit(status != 0);
}

static void restore(pid_t pid, const char *option)
{
	int end = tool_end(tool("restore", "-d", "--images-dir", "images", option));

	check(end == 0 && !kill(pid, 0), "restore: %d: %s", end, tool_said());
}

static void end(pid_t pid)
{
	must(!kill(pid, SIGKILL) && waitpid(pid, NULL, 0) == pid);
}

static void run(void)
{
	struct { pid_t pid; int64_t now; } last;
	int report[2], status;
	pid_t other;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	must(!chdir(case_dir) && !mkfifo("ask", 0600) && !mkfifo("answer", 0600));
	ask = open("ask", O_RDWR | O_CLOEXEC);
	answer = open("answer", O_RDWR | O_CLOEXEC);
	must(ask >= 0 && answer >= 0 && !pipe2(report, O_CLOEXEC));
	must((other = fork()) >= 0);
	if (!other)
		long_running(report[1]);
	must(waitpid(other, &status, 0) == other && !status);
	must(read(report[0], &last, sizeof(last)) == sizeof(last));
	must(last.now > 10000000 * SECOND);

	restore(last.pid, "--json");
	check(strstr(tool_said(), "the monotonic clock goes back by 99999") ||
	      strstr(tool_said(), "the monotonic clock goes back by 10000000 s"), "%s", tool_said());
	check(told() < 10000000 * SECOND, "the clock did not go back");
	end(last.pid);

	restore(last.pid, "--keep-clocks");
	check(!strstr(tool_said(), "goes back"), "%s", tool_said());
	for (int i = 0; i < 3; i++) {
		int64_t now = told();

		check(now >= last.now, "the clock went back from %lld to %lld", (long long)last.now, (long long)now);
		last.now = now;
		/* It is in a time namespace now, and stays in one. */
		dump(last.pid);
		restore(last.pid, i ? "--keep-clocks" : "--json");
		check(!strstr(tool_said(), "goes back"), "%s", tool_said());
	}
	check(told() >= last.now, "the clock went back in the end");
	end(last.pid);
}
