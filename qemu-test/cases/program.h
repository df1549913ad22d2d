/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The program of a case, in a file of its own. Include after case.h. */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <sys/sendfile.h>

extern char **environ;

static inline void copy_program(int to)
{
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct stat st;

	must(from >= 0 && to >= 0 && !fstat(from, &st));
	for (off_t left = st.st_size; left > 0;) {
		ssize_t n = sendfile(to, from, NULL, left);

		must(n > 0);
		left -= n;
	}
	close(from);
}

/* The program in a memfd, which is closed when it is run. */
static inline int program_in_memfd(void)
{
	int fd = memfd_create("program", MFD_CLOEXEC);

	copy_program(fd);
	return fd;
}

static inline void __attribute__((noreturn)) run_program(int fd)
{
	char *argv[] = { "program", (char *)case_dir, NULL };

	fexecve(fd, argv, environ);
	must(!"fexecve");
	_exit(2);
}

/* Returns in a program that runs from the file `program` of the case, whose path it tells. */
static inline void run_from_copy(char path[PATH_MAX])
{
	char exe[PATH_MAX] = "", *argv[] = { "program", (char *)case_dir, NULL };
	int to;

	snprintf(path, PATH_MAX, "%s/program", case_dir);
	must(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	if (!strcmp(exe, path))
		return;
	to = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	copy_program(to);
	close(to);
	execve(path, argv, environ);
	must(!"execve");
}

/* The file of this program can be read and run, and not be written to. Returns a descriptor of it. */
static inline int check_program(void)
{
	int fd = open("/proc/self/exe", O_RDONLY), status;
	char head[4] = "";
	pid_t child;

	check(fd >= 0 && read(fd, head, 4) == 4 && !memcmp(head, "\x7f" "ELF", 4), "the program cannot be read");
	check(open("/proc/self/exe", O_RDWR) < 0 && errno == ETXTBSY, "it can be written to: %s", strerror(errno));
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
	return fd;
}

#endif
