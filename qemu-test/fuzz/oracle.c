// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * What must be true of the numbers of a pid namespace, whatever was done: the
 * kernel is asked from several sides, which must agree with each other and with
 * the rules that setsid(2), setpgid(2) and clone3(2) keep.
 */
#include <sys/resource.h>

#include "fuzz.h"

#define PATIENCE	(60 * NSEC)

/*
 * A child that ends at once and shares all with us meanwhile: it is there to
 * have a number. All in registers, as both run on one stack.
 */
static long clone_and_exit(struct fuzz_clone_args *args)
{
	long ret;

	asm volatile("syscall\n\t"
		     "test %%rax, %%rax\n\t"
		     "jnz 1f\n\t"
		     "xor %%edi, %%edi\n\t"
		     "mov %[exit], %%eax\n\t"
		     "syscall\n"
		     "1:"
		     : "=a" (ret)
		     : "a" ((long)SYS_clone3), "D" (args), "S" (sizeof(*args)),
		       [exit] "i" (SYS_exit)
		     : "rcx", "r11", "memory", "cc");
	return ret;
}

int number_try(pid_t nr)
{
	struct fuzz_clone_args args = {
		.flags = CLONE_VM | CLONE_VFORK,
		.exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)&nr,
		.set_tid_size = 1,
	};
	long pid = clone_and_exit(&args);
	int status;

	if (pid < 0)
		return -pid;
	if (pid != nr)
		failure("clone3(set_tid=%d) gives %ld", nr, pid);
	while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
		;
	return 0;
}

/* Numbers in use, and by what. */
struct use {
	bool process, thread;
	pid_t group_session;	/* of the group of this number */
	bool group, session;
	const struct task *task;
};

static bool bad(bool *ok, bool says)
{
	*ok = false;
	return says;
}

#define RULE(condition, ...) \
	do { \
		if (!(condition) && bad(&ok, says)) \
			failure(__VA_ARGS__); \
	} while (0)

static bool rules(const struct snapshot *shot, struct use *use, int limit, bool says)
{
	bool ok = true;

	for (unsigned int i = 0; i < shot->count; i++) {
		const struct task *task = &shot->task[i];

		if (task->tid >= limit || task->stat.pgid >= limit || task->stat.sid >= limit)
			continue;
		RULE(task->stat.pid == task->tid, "/proc/%d/task/%d/stat is of %d", task->pid,
		     task->tid, task->stat.pid);
		if (task->tid != task->pid) {
			use[task->tid].thread = true;
			continue;
		}
		use[task->pid].process = true;
		use[task->pid].task = task;
		if (task->stat.pgid > 0) {
			struct use *group = &use[task->stat.pgid];

			RULE(!group->group || group->group_session == task->stat.sid,
			     "group %d lies in sessions %d and %d (%d)", task->stat.pgid,
			     group->group_session, task->stat.sid, task->pid);
			group->group = true;
			group->group_session = task->stat.sid;
		}
		if (task->stat.sid > 0)
			use[task->stat.sid].session = true;
	}
	for (int nr = 1; nr < limit; nr++) {
		const struct stat_line *stat = use[nr].task ? &use[nr].task->stat : NULL;

		if (stat && use[nr].group)
			RULE(stat->sid == use[nr].group_session,
			     "process %d is in session %d, the group of its number in %d", nr,
			     stat->sid, use[nr].group_session);
		if (stat && use[nr].session)
			RULE(stat->sid == nr && stat->pgid == nr,
			     "process %d is in group %d of session %d, and %d is a session", nr,
			     stat->pgid, stat->sid, nr);
		if (use[nr].group && use[nr].session)
			RULE(use[nr].group_session == nr,
			     "group %d lies in session %d, and %d is a session", nr,
			     use[nr].group_session, nr);
		RULE(!use[nr].thread || (!use[nr].group && !use[nr].session),
		     "%d is a thread and a %s", nr, use[nr].group ? "group" : "session");
	}
	return ok;
}

static bool lookups(const struct use *use, int limit, unsigned int others, bool says)
{
	bool ok = true;

	for (int nr = 2; nr < limit; nr++) {
		const struct use *u = &use[nr];
		bool used = u->process || u->thread || u->group || u->session;
		bool wanted = nr >= shared->first && nr < shared->first + shared->span;
		int error, fd;

		/* Of those that nobody uses or wants, a few will do; a world that misses one does not end. */
		if (!used && !wanted && !chance(others))
			continue;
		error = kill(-nr, 0) ? errno : 0;

		RULE(!error == u->group, "kill(-%d, 0): %s, though %s is in that group", nr,
		     strerror(error), u->group ? "somebody" : "nobody");
		errno = 0;
		RULE((getpriority(PRIO_PGRP, nr) != -1 || !errno) == u->group,
		     "getpriority() of group %d: %s", nr, strerror(errno));
		fd = sys_pidfd_open(nr, 0);
		error = fd < 0 ? errno : 0;
		RULE((fd >= 0) == u->process, "pidfd_open(%d): %s, though it is %s process", nr,
		     strerror(error), u->process ? "a" : "no");
		if (fd >= 0) {
			pid_t pid = pid_of_pidfd(fd);

			RULE(pid == nr, "a pidfd of %d is one of %d", nr, pid);
			close(fd);
		}
		if (u->process) {
			pid_t pgid = getpgid(nr), sid = getsid(nr);

			RULE(pgid == u->task->stat.pgid && sid == u->task->stat.sid,
			     "%d: getpgid() %d and getsid() %d, its stat %d and %d", nr, pgid,
			     sid, u->task->stat.pgid, u->task->stat.sid);
		}
		error = number_try(nr);
		RULE(used ? error == EEXIST : !error,
		     "clone3(set_tid=%d): %s, though the number is %s%s%s%s%s", nr,
		     strerror(error), used ? "that of a" : "free", u->process ? " process" : "",
		     u->thread ? " thread" : "", u->group ? " group" : "",
		     u->session ? " session" : "");
	}
	return ok;
}

/* A terminal is that of one session, and of all who have one there. */
static bool terminals(const struct snapshot *shot, bool says)
{
	bool ok = true;

	for (unsigned int i = 0; i < shot->count; i++) {
		const struct stat_line *a = &shot->task[i].stat;

		for (unsigned int k = 0; k < i && a->tty && a->sid; k++) {
			const struct stat_line *b = &shot->task[k].stat;

			if (!b->tty || !b->sid)
				continue;
			RULE(a->sid != b->sid || a->tty == b->tty,
			     "session %d has terminals %#x and %#x (%d, %d)", a->sid, a->tty,
			     b->tty, a->pid, b->pid);
			RULE(a->tty != b->tty || a->sid == b->sid,
			     "terminal %#x is that of sessions %d and %d (%d, %d)", a->tty,
			     a->sid, b->sid, a->pid, b->pid);
		}
	}
	return ok;
}

static bool look(const struct snapshot *shot, unsigned int others, bool says)
{
	int limit = shared->pid_max;
	struct use *use = calloc(limit, sizeof(*use));
	bool ok;

	if (!use)
		return true;
	ok = rules(shot, use, limit, says);
	ok &= terminals(shot, says);
	ok &= lookups(use, limit, others, says);
	free(use);
	return ok;
}

bool oracle_lied(const struct snapshot *shot)
{
	return !look(shot, 5, false);
}

/* A thread that has ended disappears from /proc a little before its number is free, so look again. */
static bool agree(const struct snapshot *first, unsigned int others)
{
	static struct snapshot shot;
	int64_t until = now_ns() + 10 * NSEC;

	atomic_fetch_add(&shared->frozen, 1);
	shot = *first;
	for (unsigned int tries = 0; tries < 5 || now_ns() < until; tries++) {
		if (look(&shot, others, false))
			return true;
		sleep_us(50000);
		snapshot_take(&shot);
	}
	return look(&shot, others, true);
}

bool oracle_frozen(const struct snapshot *shot)
{
	return agree(shot, 5);
}

static bool is_frozen(const struct snapshot *shot)
{
	for (unsigned int i = 0; i < shot->count; i++)
		if (shot->task[i].pid != getpid() && !strchr("TtZXD", shot->task[i].stat.state))
			return false;
	return true;
}

static bool is_same(const struct snapshot *a, const struct snapshot *b)
{
	if (a->count != b->count)
		return false;
	for (unsigned int i = 0; i < a->count; i++)
		if (a->task[i].tid != b->task[i].tid ||
		    a->task[i].stat.state != b->task[i].stat.state)
			return false;
	return true;
}

/* What sleeps uninterruptibly, as a parent in vfork() does, is still only if it is still so later. */
void oracle_freeze(void)
{
	static struct snapshot shot, before;
	int64_t until = now_ns() + 20 * NSEC;
	bool still = false;

	before.count = 0;
	while (!still && now_ns() < until) {
		kill(-1, SIGSTOP);
		sleep_us(20000);
		snapshot_take(&shot);
		still = is_frozen(&shot) && is_same(&shot, &before);
		before = shot;
	}
	if (still)
		oracle_frozen(&shot);
	else
		atomic_fetch_add(&shared->gave_up, 1);
	kill(-1, SIGCONT);
}

void oracle_empty(void)
{
	static struct snapshot shot;
	int64_t until = now_ns() + PATIENCE;

	do {
		snapshot_take(&shot);
		if (shot.count == 1)
			break;
		sleep_us(20000);
	} while (now_ns() < until);
	if (shot.count != 1) {
		failure("%u tasks are left in a world in which all were killed and reaped",
			shot.count - 1);
		snapshot_say();
	}
	/* Groups and sessions that others had are gone with them. */
	agree(&shot, 20);
}
