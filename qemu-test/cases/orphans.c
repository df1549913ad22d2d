/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

/*
 * Sessions within sessions, and processes of them whose parents have ended:
 * somebody else in the tree has adopted them.
 */
CASE(.what = "orphans that a process of the tree has adopted stay its children, in their sessions");

static int ends[2];

static void stay(const char *name, pid_t parent)
{
	pid_t sid = getsid(0), group = getpgrp();

	/* Until its parent has ended. */
	while (getppid() != parent)
		pause_ms(1);
	leave_file(name);
	await_file("go");
	check(getsid(0) == sid && getpgrp() == group, "%s: session %d was %d, group %d was %d", name, getsid(0), sid,
	      getpgrp(), group);
	check(getppid() == parent, "%s: parent %d was %d", name, getppid(), parent);
	_exit(case_failures ? 1 : 0);
}

/* A process whose parent ends; `adopter` gets it. */
static pid_t orphan(const char *name, pid_t adopter, bool own_group)
{
	pid_t pid, between = fork();
	int status;

	must(between >= 0);
	if (!between) {
		must((pid = fork()) >= 0);
		if (!pid) {
			if (own_group)
				must(!setpgid(0, 0));
			stay(name, adopter);
		}
		must(write(ends[1], &pid, sizeof(pid)) == sizeof(pid));
		_exit(0);
	}
	must(waitpid(between, &status, 0) == between);
	must(read(ends[0], &pid, sizeof(pid)) == sizeof(pid));
	await_file(name);
	return pid;
}

static void reap(pid_t pid)
{
	int status;

	check(waitpid(pid, &status, 0) == pid && status == 0, "process %d: status %x", pid, status);
}

/* Leads a session in which an orphan is that the root has adopted, and another session. */
static void outer(pid_t root)
{
	pid_t inner, sid, own;

	must((sid = setsid()) == getpid());
	orphan("outer-orphan", root, false);
	orphan("outer-group", root, true);
	must((inner = fork()) >= 0);
	if (!inner) {
		must(setsid() == getpid());
		must((own = fork()) >= 0);
		if (!own)
			stay("inner-child", getppid());
		orphan("inner-orphan", root, false);
		await_file("inner-child");
		leave_file("inner");
		await_file("go");
		check(getsid(0) == getpid(), "inner: session %d", getsid(0));
		reap(own);
		_exit(case_failures ? 1 : 0);
	}
	await_file("inner");
	leave_file("outer");
	await_file("go");
	check(getsid(0) == sid, "outer: session %d was %d", getsid(0), sid);
	reap(inner);
	_exit(case_failures ? 1 : 0);
}

/* A session whose leader ends when it has left two orphans. */
static void leaderless(pid_t root)
{
	must(setsid() == getpid());
	orphan("left-1", root, false);
	orphan("left-2", root, true);
	_exit(0);
}

static void run(void)
{
	pid_t root = getpid(), session, dead;
	int status, orphans = 0;

	must(!prctl(PR_SET_CHILD_SUBREAPER, 1) && !pipe(ends));
	orphan("near", root, false);
	must((session = fork()) >= 0);
	if (!session)
		outer(root);
	await_file("outer");
	must((dead = fork()) >= 0);
	if (!dead)
		leaderless(root);
	must(waitpid(dead, &status, 0) == dead && status == 0);

	ready();
	reap(session);
	while (waitpid(-1, &status, 0) > 0) {
		check(status == 0, "an orphan: status %x", status);
		orphans++;
	}
	check(orphans == 6, "%d orphans", orphans);
}
