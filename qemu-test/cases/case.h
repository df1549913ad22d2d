/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * What every case program shares: a case sets something up, calls ready(), and
 * then checks *its own view* of it with check(). Between the two it is dumped,
 * killed and restored by the runner (src/main.rs), or dumped and left running.
 *
 *	#include "case.h"
 *	CASE(.what = "an eventfd keeps its count");
 *	static void run(void)
 *	{
 *		int fd = eventfd(5, 0);
 *		uint64_t n;
 *
 *		ready();
 *		check(read(fd, &n, 8) == 8 && n == 5, "count is %llu", (unsigned long long)n);
 *	}
 *
 * A case ends well if run() returns and no check() failed. One file, one case;
 * it must be single-purpose, quick (well under a second beside the dump), and
 * must not depend on time passing. It starts in a session of its own, with
 * /dev/null as 0 and one log file, opened for appending, as 1 and 2.
 */
#ifndef CASE_H
#define CASE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct case_about {
	/* What is true if the case passes, as a sentence without a full stop. */
	const char *what;
	/* Options for `crust dump` and `crust restore`, separated by spaces. */
	const char *dump;
	const char *restore;
	/*
	 * The dump must be refused (exit status 3) and say this; the program
	 * must go on as if nothing had been tried.
	 */
	const char *refused;
	/* Cannot work on a mainline kernel: run with the module only. */
	bool needs_module;
	/* The case runs crust itself (environment variable CRUST); the runner only looks at its exit status. */
	bool drives_itself;
	/*
	 * Its outside state (a file it appends to, say) cannot be taken back,
	 * so it is not run a second time from the image of a --leave-running
	 * dump.
	 */
	bool once;
	/*
	 * A second stop before a restore loses something, as the tool says: so
	 * it is not asked (crust explain) before the dump.
	 */
	bool unasked;
};

extern const struct case_about case_about;
#define CASE(...) const struct case_about case_about = { __VA_ARGS__ }

static void run(void);

static const char *case_dir;
static int case_failures;

/* Notes a failure and goes on. Usable in threads and children, whose failures count if they exit with case_failures. */
#define check(cond, ...)                                                      \
	do {                                                                  \
		if (!(cond)) {                                                \
			__atomic_add_fetch(&case_failures, 1, __ATOMIC_SEQ_CST); \
			dprintf(2, "%s:%d: check failed: %s: ", __FILE__,     \
				__LINE__, #cond);                             \
			dprintf(2, __VA_ARGS__);                              \
			dprintf(2, "\n");                                     \
		}                                                             \
	} while (0)

/* For set-up: what fails here says nothing about crust. */
#define must(cond)                                                            \
	do {                                                                  \
		if (!(cond)) {                                                \
			dprintf(2, "%s:%d: set-up failed: %s: %s\n", __FILE__, \
				__LINE__, #cond, strerror(errno));            \
			_exit(2);                                             \
		}                                                             \
	} while (0)

/* Whether it is dumped and restored several times, each time as the restore before has left it. */
static inline bool is_repeated(void)
{
	const char *mode = getenv("CASE_MODE");

	return mode && !strcmp(mode, "repeat");
}

/* Sleeps for some milliseconds, whatever signals come. */
static inline void pause_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
		;
}

/*
 * How many milliseconds may pass until something is seen that happens at once: this
 * is no measure of speed. The runner waits longer (src/patience.rs).
 */
#define PATIENCE_MS 120000

/* Whether something comes true, before it never will. */
#define within_patience(cond)                                         \
	({                                                            \
		int tries_ = PATIENCE_MS / 2;                         \
		while (!(cond) && tries_--)                           \
			pause_ms(2);                                  \
		tries_ >= 0;                                          \
	})

/* Waits until a file of this name is in the directory of the case. */
static inline void await_file(const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", case_dir, name);
	while (access(path, F_OK))
		pause_ms(5);
}

/* Makes an empty file of this name in the directory of the case. */
static inline void leave_file(const char *name)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", case_dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	must(fd >= 0);
	close(fd);
}

/* The value of a line of /proc/PID/status, as a number; -1 if there is none. */
static inline long status_of(pid_t pid, const char *key)
{
	char path[64], line[256];
	long value = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, key, strlen(key)) && line[strlen(key)] == ':')
			value = strtol(line + strlen(key) + 1, NULL, 10);
	fclose(file);
	return value;
}

/* The first line of a file of /proc/PID/task/TID; false if the thread is gone. */
static inline bool line_of(pid_t pid, pid_t tid, const char *name, char *line, int size)
{
	char path[64];
	bool there;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", pid, tid, name);
	file = fopen(path, "re");
	if (!file)
		return false;
	there = fgets(line, size, file);
	fclose(file);
	return there;
}

/* The state of a thread as /proc tells it ('S' ...); 0 if it is gone. */
static inline char state_of(pid_t pid, pid_t tid)
{
	char line[512], *name_end = NULL;

	if (line_of(pid, tid, "stat", line, sizeof(line)))
		name_end = strrchr(line, ')');
	return name_end ? name_end[2] : 0;
}

/*
 * The system call in which a thread waits, with the numbers of its ABI; -1 if it
 * waits outside of one, -2 if it is running, or on its way, or gone.
 */
static inline long call_of(pid_t pid, pid_t tid)
{
	char line[256];

	if (!line_of(pid, tid, "syscall", line, sizeof(line)) || !strncmp(line, "running", 7))
		return -2;
	return strtol(line, NULL, 10);
}

/* Waits until the main thread of a process waits in this system call. */
static inline void await_call(pid_t pid, long call)
{
	while (call_of(pid, pid) != call)
		pause_ms(1);
}

/*
 * Waits until all threads of a process, but for the one that asks, have left the
 * processor: in one of these system calls, of which there are count, or anywhere
 * if count is 0. One that has ended by then counts no more.
 */
static inline void await_threads(pid_t pid, const long *calls, int count)
{
	bool all = false;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	while (!all) {
		DIR *tasks = opendir(path);
		struct dirent *entry;

		must(tasks);
		all = true;
		while ((entry = readdir(tasks))) {
			pid_t tid = atoi(entry->d_name);
			bool there;
			long call;

			if (tid <= 0 || tid == syscall(SYS_gettid))
				continue;
			call = call_of(pid, tid);
			there = !count && call > -2;
			for (int i = 0; i < count; i++)
				there |= call == calls[i];
			all &= there;
		}
		closedir(tasks);
		if (!all)
			pause_ms(1);
	}
}

#define await_threads_in(...) \
	await_threads(getpid(), (const long[]){ __VA_ARGS__ }, sizeof((const long[]){ __VA_ARGS__ }) / sizeof(long))

/*
 * Waits until a child, which goes on, has executed its program. One that could not has ended, and has no program any
 * more: whoever waited for what the program does would wait for ever.
 */
static inline void await_program(pid_t child)
{
	char path[64], own[PATH_MAX], program[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", own, sizeof(own)), n;

	must(length > 0);
	snprintf(path, sizeof(path), "/proc/%d/exe", child);
	do {
		pause_ms(1);
		n = readlink(path, program, sizeof(program));
		must(n > 0);
	} while (n == length && !memcmp(own, program, n));
}

/*
 * Waits for a tool that dumps and kills `program`, a child of ours, whose end goes to *end: it returns when somebody
 * has waited for that. Where the dump fails, or has not even begun, the program goes on, and is not waited for. Returns
 * the status of the tool, as waitpid() tells it.
 */
static inline int await_dump(pid_t tool, pid_t program, int *end)
{
	bool ended = false;
	int status;
	pid_t pid;

	while (!(pid = waitpid(tool, &status, WNOHANG))) {
		ended = ended || waitpid(program, end, WNOHANG) == program;
		pause_ms(1);
	}
	must(pid == tool);
	if (!status && !ended)
		must(waitpid(program, end, 0) == program);
	return status;
}

/*
 * Instead of ready(): this machine has not what the case is about, for a reason
 * that does not depend on crust. Says so, and ends.
 */
static inline void __attribute__((noreturn)) skip(const char *why)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/skip", case_dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	must(fd >= 0);
	must(write(fd, why, strlen(why)) == (ssize_t)strlen(why));
	_exit(0);
}

/*
 * What a refused dump must leave as it was, as text: signals, the size of the
 * address space, who traces, the descriptors. Only of a single thread: another
 * one may open something meanwhile.
 */
struct whole {
	char status[512];
	char fds[1 << 14];
};

static inline void look_at_whole(struct whole *whole)
{
	static const char *const lines[] = { "TracerPid:", "SigBlk:", "SigIgn:", "SigCgt:", "SigPnd:", "ShdPnd:", "VmSize:" };
	static char text[1 << 14], link[PATH_MAX];
	size_t used = 0, length = 0;
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	memset(whole, 0, sizeof(*whole));
	if (fd < 0)
		return;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	if (!strstr(text, "Threads:\t1\n"))
		return;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		const char *line = strstr(text, lines[i]);
		const char *end = line ? strchr(line, '\n') : NULL;

		if (end)
			length += snprintf(whole->status + length, sizeof(whole->status) - length, "%.*s ",
					   (int)(end - line), line);
	}
	for (int number = 0; number < 1024; number++) {
		char path[32];

		snprintf(path, sizeof(path), "/proc/self/fd/%d", number);
		n = readlink(path, link, sizeof(link) - 1);
		if (n < 0)
			continue;
		link[n] = 0;
		used += snprintf(whole->fds + used, sizeof(whole->fds) - used, "%d:%s ", number, link);
		if (used >= sizeof(whole->fds))
			break;
	}
}

/*
 * Everything is set up: dump me. Returns when the program was restored, or let
 * go. The main thread of the first process calls it; other threads and
 * processes use await_file("go") if they have to wait for the same moment.
 */
static inline void ready(void)
{
	static struct whole before, after;

	if (case_about.refused)
		look_at_whole(&before);
	leave_file("ready");
	await_file("go");
	if (!case_about.refused)
		return;
	look_at_whole(&after);
	check(!strcmp(before.status, after.status), "the dump has left %s, where %s was", after.status, before.status);
	check(!strcmp(before.fds, after.fds), "the dump has left descriptors %s, where %s were", after.fds, before.fds);
}

/*
 * Gives one end of a pair to a process that leaves the tree, since its parent
 * ends. It writes a byte there after ready().
 */
static inline void hold_outside(int ours, int theirs)
{
	pid_t parent = fork();
	int status;

	must(parent >= 0);
	if (!parent) {
		if (!fork()) {
			close(ours);
			await_file("go");
			_exit(write(theirs, "x", 1) != 1);
		}
		_exit(0);
	}
	must(waitpid(parent, &status, 0) == parent);
	close(theirs);
}

int main(int argc, char **argv)
{
	const struct case_about *a = &case_about;

	if (argc != 2) {
		fprintf(stderr, "usage: %s --about | DIRECTORY\n", argv[0]);
		return 2;
	}
	if (!strcmp(argv[1], "--about")) {
		printf("what=%s\ndump=%s\nrestore=%s\nrefused=%s\nneeds_module=%d\ndrives_itself=%d\nonce=%d\nunasked=%d\n",
		       a->what, a->dump ?: "", a->restore ?: "", a->refused ?: "",
		       a->needs_module, a->drives_itself, a->once, a->unasked);
		return 0;
	}
	case_dir = argv[1];
	/* What waits for a program that cannot be run would wait for ever. */
	must(!a->drives_itself || !access(getenv("CRUST"), X_OK));
	/* What whoever started the runner left open is none of the case's. */
	syscall(SYS_close_range, 3U, ~0U, 0U);
	/* A shell without job control has what it runs in the background ignore these. */
	signal(SIGINT, SIG_DFL);
	signal(SIGQUIT, SIG_DFL);
	setsid();
	run();
	return case_failures ? 1 : 0;
}

#endif
