/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "program.h"
#include "smaps.h"

CASE(.what = "a program whose file was deleted, and replaced by another, runs on", .dump = "--ghost-limit 16M");

static int answer = 41;
static int *pointer = &answer;

static void run(void)
{
	char exe[PATH_MAX] = "", copy[PATH_MAX], maps[512], flags[256];
	int fd, status;
	struct stat st;
	pid_t child;

	run_from_copy(copy);
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
	check(waitpid(child, &status, 0) == child && status == 0, "child: %x", status);
	fd = check_program();
	must(!fstat(fd, &st));
	check(st.st_nlink == 0 && (st.st_mode & 0777) == 0755, "%lu links, mode %o", st.st_nlink, st.st_mode);
	must(!stat(copy, &st));
	check(st.st_size == 13, "the file that has its name has %ld bytes", st.st_size);
}
