/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

/*
 * A pipeline whose first command has ended, a group with members of different
 * parents, and one whose maker has gone to another.
 */
CASE(.what = "members of a process group stay in it, wherever its maker and their parents are");

/* A process that waits, and then checks its group. */
static pid_t member(pid_t group, const char *name)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		must(!setpgid(0, group));
		group = getpgrp();
		leave_file(name);
		await_file("go");
		check(getpgrp() == group, "%s: group %d was %d", name, getpgrp(), group);
		_exit(case_failures ? 1 : 0);
	}
	await_file(name);
	return pid;
}

static void reap(pid_t pid)
{
	int status;

	check(waitpid(pid, &status, 0) == pid && status == 0, "process %d: status %x", pid, status);
}

static void run(void)
{
	pid_t first, second, third, apart, spans, moved, follower, new, within;
	int ends[2], moves[2], status;
	char c;

	must(!pipe(ends) && !pipe(moves));
	/* Its leader ends when the others are in it. */
	must((first = fork()) >= 0);
	if (!first) {
		must(!setpgid(0, 0) && write(ends[1], "x", 1) == 1);
		await_file("third");
		_exit(0);
	}
	must(read(ends[0], &c, 1) == 1);
	second = member(first, "second");
	third = member(first, "third");
	must(waitpid(first, &status, 0) == first);

	/* One member is a grandchild. */
	apart = member(0, "apart");
	must((spans = fork()) >= 0);
	if (!spans) {
		within = member(apart, "within");
		leave_file("spans");
		await_file("go");
		check(getpgid(within) == apart, "group %d was %d", getpgid(within), apart);
		reap(within);
		_exit(case_failures ? 1 : 0);
	}
	await_file("spans");

	/* Makes a group, and goes to another one. */
	new = member(0, "new");
	must((moved = fork()) >= 0);
	if (!moved) {
		must(!setpgid(0, 0) && write(ends[1], "x", 1) == 1);
		must(read(moves[0], &c, 1) == 1);
		must(!setpgid(0, new));
		leave_file("moved");
		await_file("go");
		check(getpgrp() == new, "moved: group %d was %d", getpgrp(), new);
		_exit(case_failures ? 1 : 0);
	}
	must(read(ends[0], &c, 1) == 1);
	follower = member(moved, "follower");
	must(write(moves[1], "x", 1) == 1);
	await_file("moved");

	ready();
	check(getpgid(second) == first && getpgid(third) == first, "groups %d and %d were %d", getpgid(second),
	      getpgid(third), first);
	check(kill(first, 0) == -1 && errno == ESRCH, "the dead leader is there");
	check(getpgid(moved) == new && getpgid(follower) == moved, "groups %d and %d were %d and %d",
	      getpgid(moved), getpgid(follower), new, moved);
	check(!kill(-first, 0), "the group of the dead leader: %s", strerror(errno));
	reap(second);
	reap(third);
	reap(apart);
	reap(spans);
	reap(new);
	reap(moved);
	reap(follower);
	check(waitpid(-1, &status, __WALL) == -1 && errno == ECHILD, "one child too many");
}
