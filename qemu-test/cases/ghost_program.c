/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

#include <sys/sendfile.h>

CASE(.what = "a program whose file was deleted, and replaced by another, runs on", .dump = "--ghost-limit 16M");

static int answer = 41;
static int *pointer = &answer;

extern char **environ;

static void run(void)
{
	char exe[PATH_MAX] = "", copy[PATH_MAX], maps[512], flags[256], head[4] = "";
	int fd, status;
	struct stat st;
	pid_t child;

	snprintf(copy, sizeof(copy), "%s/program", case_dir);
	must(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	if (strcmp(exe, copy)) {
		char *argv[] = { "program", (char *)case_dir, NULL };
		int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
		int to = open(copy, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);

		must(from >= 0 && to >= 0 && !fstat(from, &st));
		for (off_t left = st.st_size; left > 0;) {
			ssize_t n = sendfile(to, from, NULL, left);

			must(n > 0);
			left -= n;
		}
		close(to);
		execve(copy, argv, environ);
		must(!"execve");
	}
	answer++;
	must(!unlink(copy));
	fd = open(copy, O_WRONLY | O_CREAT | O_EXCL, 0755);
	must(fd >= 0 && write(fd, "#!/bin/false\n", 13) == 13);
	close(fd);
	child = fork();
	must(child >= 0);
	if (!child) {
		await_file("go");
		check(*pointer == 42, "in the child it is %d", *pointer);
		check(open("/proc/self/exe", O_RDWR) < 0 && errno == ETXTBSY, "it can be written to by the child");
		_exit(!!case_failures);
	}

	ready();

	check(*pointer == 42, "it is %d", *pointer);
	memset(exe, 0, sizeof(exe));
	must(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	check(!strncmp(exe, case_dir, strlen(case_dir)) && strstr(exe, " (deleted)"), "the program is %s", exe);
	check(smaps_of((void *)run, maps, sizeof(maps), flags, sizeof(flags)) && strstr(maps, exe), "%s", maps);
	fd = open("/proc/self/exe", O_RDONLY);
	check(fd >= 0 && read(fd, head, 4) == 4 && !memcmp(head, "\x7f" "ELF", 4), "it cannot be read");
	must(!fstat(fd, &st));
	check(st.st_nlink == 0 && (st.st_mode & 0777) == 0755, "%lu links, mode %o", st.st_nlink, st.st_mode);
	check(open("/proc/self/exe", O_RDWR) < 0 && errno == ETXTBSY, "it can be written to: %s", strerror(errno));
	check(waitpid(child, &status, 0) == child && status == 0, "child: %x", status);
	child = fork();
	must(child >= 0);
	if (!child) {
		char *argv[] = { "program", "--about", NULL };

		close(1);
		must(open("/dev/null", O_WRONLY) == 1);
		fexecve(fd, argv, environ);
		_exit(9);
	}
	check(waitpid(child, &status, 0) == child && status == 0, "run again: %x", status);
	must(!stat(copy, &st));
	check(st.st_size == 13, "the file that has its name has %ld bytes", st.st_size);
}
