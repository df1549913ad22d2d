/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "steps.h"

CASE(.what = "a tool that is killed leaves a whole tree or a whole image, and never half a tree",
     .drives_itself = true);

enum { MEMBERS = 4 };

struct member {
	volatile pid_t pid;
	volatile uint64_t beats;
};

static struct member *members;

/* A chain of processes, each the parent of the next. */
static void member_run(void)
{
	int which = 0;
	pid_t pid;

	for (; which + 1 < MEMBERS; which++) {
		must((pid = fork()) >= 0);
		if (pid)
			break;
	}
	members[which].pid = getpid();
	for (;;) {
		members[which].beats++;
		pause_ms(1);
	}
}

static void tree_start(void)
{
	char path[PATH_MAX];
	pid_t pid;
	int fd;

	snprintf(path, sizeof(path), "%s/members", case_dir);
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(fd >= 0 && !ftruncate(fd, 4096));
	members = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(members != MAP_FAILED);
	close(fd);
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		setsid();
		member_run();
	}
	for (int i = 0; i < MEMBERS; i++)
		while (!members[i].beats)
			pause_ms(1);
}

/* Gone, or a zombie that whoever adopts orphans here has not waited for yet. */
static bool ended(int which)
{
	char state = state_of(members[which].pid, members[which].pid);

	return !state || state == 'Z' || state == 'X';
}

static bool works(int which)
{
	uint64_t beats = members[which].beats;

	return within_patience(members[which].beats != beats || ended(which)) && !ended(which);
}

static void tree_end(void)
{
	for (int i = 0; i < MEMBERS; i++)
		kill(members[i].pid, SIGKILL);
	while (waitpid(members[0].pid, NULL, 0) < 0 && errno == EINTR)
		;
	munmap(members, 4096);
}

static void nothing(void)
{
}

/*
 * The image is complete and the processes are being bound to the life of the
 * tool, one after the other: the kernel has no way to do that to all at once.
 */
static bool between_two(void)
{
	char request[16];

	snprintf(request, sizeof(request), " of %#x", PTRACE_SETOPTIONS);
	return strstr(killed_at, request);
}

static void run(void)
{
	bool killed = true;
	int end = 0;

	for (int at = 0; killed && !case_failures; at += 5) {
		const char *to = images();
		char number[16];
		bool complete;

		tree_start();
		snprintf(number, sizeof(number), "%d", members[0].pid);
		killed = tool_killed_at(at, nothing, &end,
					(const char *const[]){ "dump", "--tree", number, "--images-dir", to, NULL });
		complete = names_in(to) == 1;
		if (complete && killed && between_two()) {
			tree_end();
			continue;
		}
		/* The last member is the first that is killed. */
		if (complete && !works(MEMBERS - 1)) {
			for (int i = MEMBERS - 2; i >= 0; i--)
				check(within_patience(ended(i)), "%s: member %d is left", killed_at, i);
			tree_end();
			continue;
		}
		check(killed, "the tool ended, and the tree did not");
		for (int i = 0; i < MEMBERS; i++)
			check(works(i), "%s: member %d does not run, image %d", killed_at, i, complete);
		tree_end();
	}
	check(end == 0, "the tool that was not killed: %d: %s", end, tool_said());
}
