/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"

CASE(.what = "a restore refuses another build of the program under its path, and takes the same build written again",
     .drives_itself = true);

/* The note in which linkers put the build id: lengths of name and id, type, name. */
static const char note[] = "\4\0\0\0\x14\0\0\0\3\0\0\0GNU";

static char path[PATH_MAX];
static char program[16 << 20];
static size_t length;
static char *found;

/* Puts a program under the path, as an update does: another file, by a rename. */
static void install(void)
{
	char fresh[PATH_MAX + 8];
	int fd;

	snprintf(fresh, sizeof(fresh), "%s.new", path);
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	must(fd >= 0 && write(fd, program, length) == (ssize_t)length);
	close(fd);
	must(!rename(fresh, path));
}

static struct adder start(void)
{
	char *argv[] = { "victim", (char *)case_dir, NULL };
	struct adder adder = adder_pipes();

	adder.pid = fork();
	must(adder.pid >= 0);
	if (!adder.pid) {
		must(dup2(open("/dev/null", O_RDWR), 1) == 1 && dup2(1, 2) == 2);
		execve(path, argv, environ);
		_exit(9);
	}
	await_program(adder.pid);
	snprintf(adder.number, sizeof(adder.number), "%d", adder.pid);
	return adder;
}

/* The restore must be refused, say why, and make nothing. */
static void refused(const struct adder *adder, const char *to, const char *why)
{
	int end = tool_end(tool("restore", "--restore-detached", "--images-dir", to));

	check(end == 4, "restore: %d: %s", end, tool_said());
	check(strstr(tool_said(), why), "the conflict does not say `%s`: %s", why, tool_said());
	check(strstr(tool_said(), "/victim"), "the conflict does not name the program: %s", tool_said());
	check(kill(adder->pid, 0) && errno == ESRCH, "something was made");
}

static void run(void)
{
	char exe[PATH_MAX] = "", *victim = "/victim";
	const struct timespec long_ago[2] = { { 1, 0 }, { 1, 0 } };
	struct adder adder;
	const char *to;
	size_t whole;
	int fd, end;

	snprintf(path, sizeof(path), "%s%s", case_dir, victim);
	must(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	if (!strcmp(exe, path))
		adder_run(open_pipe("ask", false), open_pipe("answer", false), 1);
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	must(fd >= 0);
	length = whole = read(fd, program, sizeof(program));
	close(fd);
	found = memmem(program, length, note, sizeof(note));
	must(found);
	to = images();

	install();
	adder = start();
	adder_dump(&adder, to);
	found[sizeof(note)] ^= 1;
	install();
	refused(&adder, to, "another build: its build id is ");
	found[sizeof(note)] ^= 1;
	program[length++] = 0;
	install();
	refused(&adder, to, "bytes now, and had");
	length = 10;
	install();
	refused(&adder, to, "now it has none");
	unlink(path);
	refused(&adder, to, "it cannot be found");
	/* The same build, written again at another time. */
	length = whole;
	install();
	must(!utimensat(AT_FDCWD, path, long_ago, 0));
	end = tool_end(tool("restore", "--restore-detached", "--images-dir", to));
	check(end == 0, "restore: %d: %s", end, tool_said());
	check(adder_works(&adder), "the restored program does not run");
	adder_stop(&adder);

	/* Without a build id it is the time that counts. */
	found[8] = 0x77;
	install();
	adder = start();
	to = images();
	adder_dump(&adder, to);
	must(!utimensat(AT_FDCWD, path, long_ago, 0));
	refused(&adder, to, "it was modified since the dump");
}
