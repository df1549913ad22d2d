/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "the start times of processes are kept", .needs_module = true);

/* Field 22 of /proc/PID/stat. */
static unsigned long long started(pid_t pid)
{
	char path[64], text[1024], *field;
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	must((fd = open(path, O_RDONLY)) >= 0);
	n = read(fd, text, sizeof(text) - 1);
	must(n > 0);
	text[n] = 0;
	close(fd);
	field = strrchr(text, ')');
	for (int i = 2; i < 22; i++)
		field = strchr(field + 1, ' ');
	return strtoull(field, NULL, 10);
}

static void run(void)
{
	unsigned long long own = started(getpid()), of_child;
	pid_t child;

	must((child = fork()) >= 0);
	if (!child) {
		await_file("go");
		_exit(0);
	}
	of_child = started(child);
	/* So that "now" is another tick than "then". */
	pause_ms(100);
	ready();
	check(started(getpid()) == own, "%llu, was %llu", started(getpid()), own);
	check(started(child) == of_child, "child: %llu, was %llu", started(child), of_child);
	wait(NULL);
}
