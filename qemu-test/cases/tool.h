/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * For cases that drive crust themselves (.drives_itself): what happens to a
 * program when the tool is killed, the disk is full, the image is damaged.
 */
#ifndef TOOL_H
#define TOOL_H

#include "case.h"

#include <dirent.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/socket.h>

extern char **environ;

/*
 * Starts a program (no shell), with `from` as its standard input and `to` as its standard output, if these are not -1.
 * All else that it says goes to the end of "said" in the directory of the case.
 */
static inline pid_t program_between(int from, int to, const char *const *argv)
{
	posix_spawn_file_actions_t actions;
	char said[PATH_MAX];
	pid_t pid;

	snprintf(said, sizeof(said), "%s/said", case_dir);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 2, said, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (from >= 0)
		posix_spawn_file_actions_adddup2(&actions, from, 0);
	posix_spawn_file_actions_adddup2(&actions, to >= 0 ? to : 2, 1);
	errno = posix_spawnp(&pid, argv[0], &actions, NULL, (char **)argv, environ);
	must(!errno);
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

/* Starts crust with these arguments so. */
static inline pid_t tool_between(int from, int to, const char *const *arguments)
{
	const char *argv[32] = { getenv("CRUST") };

	must(argv[0]);
	for (int i = 0; arguments[i]; i++)
		argv[i + 1] = arguments[i];
	return program_between(from, to, argv);
}

/* What was said so far is forgotten. */
static inline void tool_said_nothing(void)
{
	char said[PATH_MAX];

	snprintf(said, sizeof(said), "%s/said", case_dir);
	unlink(said);
}

/* Starts crust with these arguments; only what this one says will be in "said". */
static inline pid_t tool_start(const char *const *arguments)
{
	tool_said_nothing();
	return tool_between(-1, -1, arguments);
}

#define tool_piped(from, to, ...) tool_between(from, to, (const char *const[]){ __VA_ARGS__, NULL })
#define tool(...) tool_start((const char *const[]){ __VA_ARGS__, NULL })

/* What the last tool said. */
static inline const char *tool_said(void)
{
	static char text[65536];
	char said[PATH_MAX];
	ssize_t n;
	int fd;

	snprintf(said, sizeof(said), "%s/said", case_dir);
	fd = open(said, O_RDONLY | O_CLOEXEC);
	must(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	must(n >= 0);
	text[n] = 0;
	close(fd);
	return text;
}

/* Waits for a tool: its exit status, or minus the signal that ended it. */
static inline int tool_end(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/*
 * Waits for a tool that dumps and kills a child of ours. If it fails, the child goes on, nothing can be restored, and
 * the case ends.
 */
static inline void tool_dumps(pid_t pid, pid_t program)
{
	int end, status = await_dump(pid, program, &end);

	check(!status, "dump: status %#x: %s", status, tool_said());
	if (status)
		_exit(1);
}

/*
 * The program that is dumped: it answers each number that it reads from a pipe
 * with the sum of all so far, and checks its memory at each.
 */
struct adder {
	pid_t pid;
	/* The same, as an argument. */
	char number[16];
	int ask, answer;
	uint64_t sum;
};

static inline void adder_run(int ask, int answer, size_t mib)
{
	size_t words = mib << 17;
	volatile uint64_t *area = mmap(NULL, words * 8 + 1, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t sum = 0, n;

	must(area != MAP_FAILED);
	for (size_t i = 0; i < words; i++)
		area[i] = i * 0x9e3779b97f4a7c15;
	while (read(ask, &n, sizeof(n)) == sizeof(n)) {
		for (size_t i = 0; i < words; i += 512)
			if (area[i] != i * 0x9e3779b97f4a7c15)
				_exit(3);
		sum += n;
		if (write(answer, &sum, sizeof(sum)) != sizeof(sum))
			_exit(4);
	}
	_exit(0);
}

/* A file of this name in the directory of the case, mapped and shared. */
static inline void *map_in_case(const char *name, size_t size)
{
	char path[PATH_MAX];
	void *at;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", case_dir, name);
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(fd >= 0 && !ftruncate(fd, size));
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(at != MAP_FAILED);
	close(fd);
	return at;
}

/* Opens a named pipe in the directory of the case. */
static inline int open_pipe(const char *name, bool is_new)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", case_dir, name);
	if (is_new) {
		unlink(path);
		must(!mkfifo(path, 0600));
	}
	fd = open(path, O_RDWR | O_CLOEXEC);
	must(fd >= 0);
	return fd;
}

/* Our side of one that is about to be started. */
static inline struct adder adder_pipes(void)
{
	return (struct adder){ .ask = open_pipe("ask", true), .answer = open_pipe("answer", true) };
}

/*
 * Starts it, in a session of its own, with nothing but /dev/null and two named
 * pipes open: their other ends are ours, and are found again by name.
 */
static inline struct adder adder_start(size_t mib)
{
	struct adder adder = adder_pipes();

	adder.pid = fork();
	must(adder.pid >= 0);
	if (!adder.pid) {
		int from, to;

		setsid();
		from = open_pipe("ask", false);
		to = open_pipe("answer", false);
		dup2(open("/dev/null", O_RDWR), 0);
		dup2(0, 1);
		dup2(0, 2);
		for (int fd = 3; fd < 64; fd++)
			if (fd != from && fd != to)
				close(fd);
		adder_run(from, to, mib);
	}
	snprintf(adder.number, sizeof(adder.number), "%d", adder.pid);
	return adder;
}

/* One question. No answer means that the program does not run any more. */
static inline bool adder_works(struct adder *adder)
{
	struct pollfd ready = { .fd = adder->answer, .events = POLLIN };
	uint64_t n = 7, sum;

	adder->sum += n;
	if (write(adder->ask, &n, sizeof(n)) != sizeof(n))
		return false;
	if (poll(&ready, 1, PATIENCE_MS) != 1)
		return false;
	return read(adder->answer, &sum, sizeof(sum)) == sizeof(sum) && sum == adder->sum;
}

static inline void adder_stop(struct adder *adder)
{
	kill(adder->pid, SIGKILL);
	waitpid(adder->pid, NULL, 0);
	close(adder->ask);
	close(adder->answer);
}

/* The directory for images, empty. */
static inline const char *images(void)
{
	static char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/images", case_dir);
	mkdir(path, 0700);
	dir = opendir(path);
	must(dir);
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	return path;
}

/* Dumps it, which ends it. A restored one comes to us when its tool has ended. */
static inline void adder_dump(struct adder *adder, const char *to)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	must(adder_works(adder));
	tool_dumps(tool("dump", "--tree", adder->number, "--images-dir", to), adder->pid);
}

/* How many names a directory has. */
static inline int names_in(const char *path)
{
	struct dirent *entry;
	DIR *dir = opendir(path);
	int n = 0;

	must(dir);
	while ((entry = readdir(dir)))
		n += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
	closedir(dir);
	return n;
}

/*
 * Sends the tool a signal `us` microseconds into a dump with --leave-running;
 * the program must go on, and the image be complete or absent. Returns whether
 * the tool had finished before.
 */
static inline bool tool_dies_after(int signal, long us)
{
	struct adder adder = adder_start(16);
	const char *to = images();
	bool finished;
	pid_t pid;
	int end;

	must(adder_works(&adder));
	pid = tool("dump", "--leave-running", "--tree", adder.number, "--images-dir", to);
	/* Any instant of the tool will do. */
	usleep(us);
	kill(pid, signal);
	end = tool_end(pid);
	finished = end == 0;
	if (signal == SIGINT)
		/* Before it holds anything of the program it may simply die. */
		check(end == 0 || end == 1 || end == -SIGINT, "after SIGINT: %d: %s", end, tool_said());
	check(adder_works(&adder), "%ld us: the program does not run (%s)", us, tool_said());
	check(status_of(adder.pid, "TracerPid") == 0, "%ld us: it is still traced", us);
	/* The image is complete or absent: at most one name, no leftover. */
	check(names_in(to) <= 1, "%ld us: %d names in the directory", us, names_in(to));
	check(!finished || names_in(to) == 1, "%ld us: no image though the dump succeeded", us);
	adder_stop(&adder);
	return finished;
}

#endif
