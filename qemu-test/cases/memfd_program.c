/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "program.h"
#include "smaps.h"

CASE(.what = "a program that runs from a memfd (fexecve) runs from it still, and so do its children");

/* Its data is not where it was linked, and is written to. */
static int answer = 41;
static int *pointer = &answer;

/* What runs from the memfd. */
static void from_memfd(const char *expected)
{
	char exe[PATH_MAX] = "", maps[512], flags[256];
	int fd, status;
	struct stat of_exe;
	pid_t child;

	answer++;
	child = fork();
	must(child >= 0);
	if (!child) {
		await_file("go");
		check(*pointer == 42, "in the child it is %d", *pointer);
		must(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
		check(!strcmp(exe, expected), "the child runs %s", exe);
		_exit(!!case_failures);
	}
	leave_file("running");
	await_file("go");

	check(*pointer == 42, "it is %d", *pointer);
	must(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	check(!strcmp(exe, expected), "the program is %s", exe);
	check(smaps_of((void *)from_memfd, maps, sizeof(maps), flags, sizeof(flags)) && strstr(maps, expected), "%s", maps);
	check(waitpid(child, &status, 0) == child && status == 0, "child: %x", status);
	/* Its maker has it open for writing: that does not count. */
	fd = check_program();
	/* The file of the mapping is the program. */
	must(!fstat(fd, &of_exe));
	check(strtoul(strchr(strchr(strchr(strchr(maps, ' ') + 1, ' ') + 1, ' ') + 1, ' '), NULL, 10) == of_exe.st_ino,
	      "the program is inode %lu, its code is in %s", of_exe.st_ino, maps);
	_exit(!!case_failures);
}

static void run(void)
{
	static const char expected[] = "/memfd:program (deleted)";
	char exe[PATH_MAX] = "", head[4];
	int fd, status;
	pid_t child;

	must(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	if (!strcmp(exe, expected))
		from_memfd(expected);
	fd = program_in_memfd();
	child = fork();
	must(child >= 0);
	if (!child)
		run_program(fd);
	await_file("running");

	ready();

	check(pread(fd, head, 4, 0) == 4 && !memcmp(head, "\x7f" "ELF", 4), "it cannot be read");
	check((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR, "flags %o", fcntl(fd, F_GETFL));
	check(waitpid(child, &status, 0) == child && status == 0, "what runs from it: %x", status);
}
