/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "children, grandchildren, process groups and sessions stay as they were");

/* Who a process is; checked by the process itself. */
struct who {
	pid_t pid, ppid, pgid, sid;
};

static struct who whoami(void)
{
	return (struct who){ getpid(), getppid(), getpgrp(), getsid(0) };
}

static void check_who(const char *name, struct who was)
{
	struct who is = whoami();

	check(is.pid == was.pid, "%s: pid %d was %d", name, is.pid, was.pid);
	/* The parent of the root is not in the tree: it may be the tool, for a moment. */
	if (strcmp(name, "root"))
		check(is.ppid == was.ppid, "%s: parent %d was %d", name, is.ppid, was.ppid);
	check(is.pgid == was.pgid, "%s: group %d was %d", name, is.pgid, was.pgid);
	check(is.sid == was.sid, "%s: session %d was %d", name, is.sid, was.sid);
}

static void stay(const char *name, void (*more)(void))
{
	struct who was = whoami();
	char file[64];
	int children = 0, status;

	if (more)
		more();
	snprintf(file, sizeof(file), "up-%s", name);
	leave_file(file);
	await_file("go");
	check_who(name, was);
	while (wait(&status) > 0) {
		children++;
		check(status == 0, "%s: a child ended with status %x", name, status);
	}
	check(children == (more ? 2 : 0), "%s: %d children", name, children);
	_exit(case_failures ? 1 : 0);
}

static void child(const char *name, void (*set_up)(void), void (*more)(void))
{
	char file[64];
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		if (set_up)
			set_up();
		stay(name, more);
	}
	snprintf(file, sizeof(file), "up-%s", name);
	await_file(file);
}

static void own_group(void)
{
	must(!setpgid(0, 0));
}

static void own_session(void)
{
	must(setsid() == getpid());
}

static void of_the_group(void)
{
	child("member", NULL, NULL);
	child("second-group", own_group, NULL);
}

static void of_the_session(void)
{
	child("session-member", NULL, NULL);
	child("session-group", own_group, NULL);
}

static void early_and_late(void)
{
	/* One child stays in the session that its parent leaves. */
	child("left-behind", NULL, NULL);
	must(setsid() == getpid());
	child("taken-along", NULL, NULL);
}

/* Makes the session late, so what it was before is not what it is. */
static void late_leader(void)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		struct who was;
		int status, children = 0;

		early_and_late();
		was = whoami();
		leave_file("up-late");
		await_file("go");
		check_who("late", was);
		while (wait(&status) > 0) {
			children++;
			check(status == 0, "late: a child ended with status %x", status);
		}
		check(children == 2, "late: %d children", children);
		_exit(case_failures ? 1 : 0);
	}
	await_file("up-late");
}

static void run(void)
{
	struct who was = whoami();
	int status, children = 0;

	child("group", own_group, of_the_group);
	child("session", own_session, of_the_session);
	late_leader();
	ready();
	check_who("root", was);
	while (wait(&status) > 0) {
		children++;
		check(status == 0, "a child ended with status %x", status);
	}
	check(children == 3, "%d children", children);
}
