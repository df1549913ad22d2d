// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * A play in which nothing moves but by requests, so that the outcome of each
 * can be foretold from what /proc says before: what SET_PID and SET_IDS may do
 * and what they must refuse, by the rules that linux/ckpt.h states, and that
 * they change what they say and nothing else.
 */
#include "fuzz.h"

#define PROCESSES	12

struct process {
	pid_t pid;		/* 0: free */
	int pidfd;
	bool traced, threaded;
};

static struct process own[PROCESSES];
static struct snapshot before, after;

/* In which order tasks have joined the session that they are in, by their pid. */
static uint64_t joined[1024], joins;

/* Outcomes that are allowed, as bits. */
#define FINE		1U
#define REFUSED		2U	/* EPERM */
#define WRONG		4U	/* EINVAL */
#define TAKEN		8U	/* EEXIST */
#define BUSY		16U	/* EBUSY */

static unsigned int outcome(int error)
{
	switch (error) {
	case 0:
		return FINE;
	case EPERM:
		return REFUSED;
	case EINVAL:
		return WRONG;
	case EEXIST:
		return TAKEN;
	case EBUSY:
		return BUSY;
	default:
		return 0;
	}
}

static const struct stat_line *process_in(const struct snapshot *shot, pid_t pid)
{
	for (unsigned int i = 0; i < shot->count; i++)
		if (shot->task[i].pid == pid && shot->task[i].tid == pid)
			return &shot->task[i].stat;
	return NULL;
}

static bool is_thread(pid_t nr)
{
	for (unsigned int i = 0; i < before.count; i++)
		if (before.task[i].tid == nr && before.task[i].pid != nr)
			return true;
	return false;
}

/* Which session the group @nr lies in, of the members other than @but; 0 if it has none. */
static pid_t group_session(pid_t nr, pid_t but)
{
	for (unsigned int i = 0; i < before.count; i++) {
		const struct task *task = &before.task[i];

		if (task->tid == task->pid && task->pid != but && task->stat.pgid == nr)
			return task->stat.sid;
	}
	return 0;
}

static bool session_has(pid_t nr, pid_t but)
{
	for (unsigned int i = 0; i < before.count; i++) {
		const struct task *task = &before.task[i];

		if (task->tid == task->pid && task->pid != but && task->stat.sid == nr)
			return true;
	}
	return false;
}

static struct process *own_of(pid_t pid)
{
	for (unsigned int i = 0; i < PROCESSES; i++)
		if (pid && own[i].pid == pid)
			return &own[i];
	return NULL;
}

static bool is_traced(pid_t pid)
{
	struct process *process = own_of(pid);

	return process && process->traced;
}

/* Who has been seen for the first time has joined since the last look. */
static void note_joins(const struct snapshot *shot)
{
	for (unsigned int i = 0; i < shot->count; i++)
		if (shot->task[i].tid < (int)ARRAY_SIZE(joined) && !joined[shot->task[i].tid])
			joined[shot->task[i].tid] = ++joins;
}

static pid_t last_to_join(pid_t session)
{
	pid_t last = 0;

	for (unsigned int i = 0; i < before.count; i++) {
		const struct task *task = &before.task[i];

		if (task->tid == task->pid && task->stat.sid == session &&
		    (!last || joined[task->pid] > joined[last]))
			last = task->pid;
	}
	return last;
}

static bool is_zombie(pid_t pid)
{
	const struct stat_line *line = process_in(&before, pid);

	return line && line->state == 'Z';
}

static bool number_exists(pid_t nr)
{
	return process_in(&before, nr) || is_thread(nr) || group_session(nr, 0) || session_has(nr, 0);
}

static unsigned int may_join(const struct stat_line *t, pid_t sid)
{
	const struct stat_line *leader = process_in(&before, sid);

	if (sid == t->sid)
		return FINE;
	/* Its own session may be new only, and it would be in it already if it were not. */
	if (sid == t->pid)
		return FINE;
	if (!session_has(sid, 0)) {
		/* A new one, that a living process would have to lead. */
		return leader || is_thread(sid) ? REFUSED : FINE;
	}
	if (sid == getsid(0))
		return FINE;
	if (leader)
		return is_zombie(sid) ? FINE | REFUSED : is_traced(sid) ? FINE : REFUSED;
	return is_traced(last_to_join(sid)) ? FINE : REFUSED;
}

static unsigned int foretell_ids(const struct process *p, pid_t pgid, pid_t sid)
{
	const struct stat_line *t = process_in(&before, p->pid), *leader;
	pid_t old_group, in;

	if (!t)
		return ~0U;
	if (pgid < 0 || sid < 0)
		return WRONG;
	pgid = pgid ? pgid : t->pgid;
	sid = sid ? sid : t->sid;
	if ((pgid >= shared->pid_max) || (sid >= shared->pid_max))
		return WRONG;
	if ((pgid == 1 || sid == 1) && !number_exists(1))
		return WRONG;
	if (pgid == t->pgid && sid == t->sid)
		return FINE;
	if (is_thread(pgid) || is_thread(sid))
		return REFUSED;
	/* What leads a session stays, and leads its group. */
	if (t->sid == t->pid)
		return REFUSED;
	if (sid == t->pid && pgid != t->pid)
		return REFUSED;
	if (may_join(t, sid) == REFUSED)
		return REFUSED;
	in = group_session(pgid, t->pid);
	if (in && in != sid)
		return REFUSED;
	/* A group of the number of a session is the leader's. */
	if (pgid != sid && (session_has(pgid, t->pid) || (t->sid == pgid && session_has(pgid, 0) &&
							  sid == pgid)))
		return REFUSED;
	in = group_session(sid, t->pid);
	if (in && in != sid)
		return REFUSED;
	leader = process_in(&before, pgid);
	if (leader && pgid != t->pid && leader->sid != sid)
		return is_zombie(pgid) ? FINE | REFUSED : REFUSED;
	/* Who leads a group that has others does not leave their session. */
	old_group = group_session(t->pid, t->pid);
	if (old_group && old_group != sid)
		return REFUSED;
	return may_join(t, sid);
}

static unsigned int foretell_pid(const struct process *p, pid_t nr)
{
	unsigned int allowed = 0;

	if (nr == p->pid)
		return p->threaded ? FINE | BUSY : FINE;
	if (nr < 2 || nr >= shared->pid_max)
		allowed |= WRONG;
	else if (number_exists(nr))
		allowed |= TAKEN;
	if (p->threaded)
		allowed |= BUSY;
	return allowed ? allowed : FINE;
}

/* ---- The cast ---- */

static void *thread_idle(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* One that nobody traces, and that is what it will be when this returns. */
static void child(bool in_group)
{
	pid_t pid = fork();

	if (!pid)
		thread_idle(NULL);
	if (in_group)
		setpgid(pid, pid);
}

static void act(bool *threaded)
{
	pthread_t thread;

	prctl(PR_SET_NAME, "victim");
	switch (below(6)) {
	case 0:
		setsid();
		break;
	case 1:
		setpgid(0, 0);
		break;
	case 2:
		/* A session with a member that is not traced and outlives the leader. */
		setsid();
		child(chance(50));
		break;
	case 3:
		/* A group that others are in. */
		setpgid(0, 0);
		child(false);
		break;
	case 4:
		if (*threaded)
			pthread_create(&thread, NULL, thread_idle, NULL);
		break;
	}
}

static void enter(struct process *p)
{
	bool threaded = chance(40);
	int pipes[2], status;
	char byte;

	if (pipe2(pipes, O_CLOEXEC))
		return;
	p->pid = fork();
	if (!p->pid) {
		act(&threaded);
		close(pipes[0]);
		if (write(pipes[1], "x", 1) < 0)
			_exit(1);
		close(pipes[1]);
		thread_idle(NULL);
	}
	close(pipes[1]);
	if (p->pid < 0) {
		p->pid = 0;
		close(pipes[0]);
		return;
	}
	if (read(pipes[0], &byte, 1) != 1)
		failure("a process of the model did not come up");
	close(pipes[0]);
	p->pidfd = sys_pidfd_open(p->pid, 0);
	p->traced = chance(80);
	if (p->traced) {
		if (ptrace(PTRACE_SEIZE, p->pid, 0, PTRACE_O_EXITKILL) ||
		    ptrace(PTRACE_INTERRUPT, p->pid, 0, 0) ||
		    waitpid(p->pid, &status, __WALL) != p->pid)
			failure("the model cannot stop %d: %s", p->pid, strerror(errno));
	}
	snapshot_take(&before);
	p->threaded = false;
	for (unsigned int i = 0; i < before.count; i++)
		if (before.task[i].pid == p->pid && before.task[i].tid != p->pid)
			p->threaded = true;
	note_joins(&before);
}

/* Those whose parents are gone would become too many. */
static void end_orphans(void)
{
	snapshot_take(&before);
	for (unsigned int i = 0; i < before.count; i++) {
		const struct stat_line *line = &before.task[i].stat;
		struct stat_line left;

		if (line->ppid != 1 || strcmp(line->comm, "victim") || chance(50))
			continue;
		kill(line->pid, SIGKILL);
		while (going() && stat_of(line->pid, &left))
			sleep_us(1000);
		joined[line->pid] = 0;
	}
}

static void leave(struct process *p, bool reap)
{
	siginfo_t info;

	kill(p->pid, SIGKILL);
	if (!reap) {
		/* Stays as a zombie for a while. */
		waitid(P_PID, p->pid, &info, WEXITED | WNOWAIT | __WALL);
		return;
	}
	while (waitpid(p->pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	if (p->pid < (int)ARRAY_SIZE(joined))
		joined[p->pid] = 0;
	close(p->pidfd);
	memset(p, 0, sizeof(*p));
}

/* ---- Comparison ---- */

static void compare(const char *what, int error)
{
	if (before.count != after.count) {
		failure("after %s (%s) there are %u tasks, before %u", what, strerror(error),
			after.count, before.count);
		return;
	}
	for (unsigned int i = 0; i < before.count; i++) {
		const struct stat_line *a = &before.task[i].stat, *b = NULL;

		for (unsigned int k = 0; k < after.count; k++)
			if (after.task[k].tid == before.task[i].tid)
				b = &after.task[k].stat;
		if (!b)
			failure("after %s (%s) there is no %d", what, strerror(error), a->pid);
		else if (a->pgid != b->pgid || a->sid != b->sid || a->tty != b->tty)
			failure("after %s (%s) %d is in group %d, session %d with terminal %#x; must be in %d, %d with %#x",
				what, strerror(error), a->pid, b->pgid, b->sid, b->tty, a->pgid,
				a->sid, a->tty);
	}
}

static void try_ids(struct process *p, pid_t pgid, pid_t sid)
{
	struct ckpt_set_ids arg = { .pidfd = p->pidfd, .pgid = pgid, .sid = sid };
	unsigned int allowed = foretell_ids(p, pgid, sid);
	const struct stat_line *t = process_in(&before, p->pid);
	char what[100];
	int error = request_plain(CKPT_NR_SET_IDS, &arg);

	snprintf(what, sizeof(what), "SET_IDS(%d, %d) of %d in %d/%d", pgid, sid, p->pid,
		 t ? t->pgid : -1, t ? t->sid : -1);
	if (!(outcome(error) & allowed) &&
	    failure("%s: %s, must be of %s%s%s", what, strerror(error),
		    allowed & FINE ? "success " : "", allowed & REFUSED ? "EPERM " : "",
		    allowed & WRONG ? "EINVAL" : "")) {
		for (unsigned int i = 0; i < before.count; i++)
			say("    %d/%d %c %d/%d%s", before.task[i].pid, before.task[i].tid,
			    before.task[i].stat.state, before.task[i].stat.pgid,
			    before.task[i].stat.sid,
			    is_traced(before.task[i].pid) ? " traced" : "");
	}
	if (!error && t) {
		for (unsigned int i = 0; i < before.count; i++)
			if (before.task[i].pid == p->pid) {
				struct stat_line *line = &before.task[i].stat;
				pid_t old = line->sid;

				line->pgid = pgid ? pgid : line->pgid;
				line->sid = sid ? sid : line->sid;
				line->tty = 0;
				if (old != line->sid && before.task[i].tid == p->pid)
					joined[p->pid] = ++joins;
			}
	}
	snapshot_take(&after);
	compare(what, error);
}

static void try_pid(struct process *p, pid_t nr)
{
	struct ckpt_set_pid arg = { .pidfd = p->pidfd, .count = 1, .nr = { nr } };
	unsigned int allowed = foretell_pid(p, nr);
	pid_t old = p->pid;
	char what[100];
	int error = request_plain(CKPT_NR_SET_PID, &arg);

	snprintf(what, sizeof(what), "SET_PID(%d) of %d", nr, p->pid);
	if (!(outcome(error) & allowed))
		failure("%s: %s, must be of %s%s%s%s", what, strerror(error),
			allowed & FINE ? "success " : "", allowed & WRONG ? "EINVAL " : "",
			allowed & TAKEN ? "EEXIST " : "", allowed & BUSY ? "EBUSY" : "");
	if (!error) {
		for (unsigned int i = 0; i < before.count; i++) {
			struct task *task = &before.task[i];

			if (task->pid == old && task->tid == old)
				task->pid = task->tid = task->stat.pid = nr;
			if (task->stat.pgid == old)
				task->stat.pgid = nr;
			if (task->stat.sid == old)
				task->stat.sid = nr;
		}
		if (nr != old && nr < (int)ARRAY_SIZE(joined)) {
			joined[nr] = joined[old];
			joined[old] = 0;
		}
		p->pid = nr;
		if (nr != old && number_try(old))
			failure("after %s %d is not free", what, old);
		if (number_try(nr) != EEXIST)
			failure("after %s clone3() can have %d", what, nr);
	}
	snapshot_take(&after);
	compare(what, error);
}

static pid_t any_id(void)
{
	const struct task *task = &before.task[below(before.count)];

	switch (below(6)) {
	case 0:
		return task->stat.pgid;
	case 1:
		return task->stat.sid;
	case 2:
		return task->tid;
	case 3:
		return 0;
	default:
		return contested();
	}
}

static void model(void)
{
	unsigned int steps = 0;

	if (chance(50))
		setsid();
	while (going()) {
		struct process *p = &own[below(PROCESSES)];

		if (!p->pid) {
			enter(p);
			continue;
		}
		if (chance(3)) {
			leave(p, chance(80));
			end_orphans();
			continue;
		}
		if (is_zombie(p->pid) || !p->traced) {
			snapshot_take(&before);
			if (chance(20) || is_zombie(p->pid))
				leave(p, true);
			continue;
		}
		snapshot_take(&before);
		note_joins(&before);
		if (is_zombie(p->pid))
			continue;
		if (chance(25)) {
			try_pid(p, any_id());
		} else {
			pid_t pgid = any_id(), sid = any_id();

			if (chance(25))
				sid = pgid;
			if (chance(10))
				pgid = sid = p->pid;
			try_ids(p, pgid, sid);
		}
		if (++steps % 64 == 0)
			oracle_frozen(&after);
	}
	_exit(0);
}

void model_start(void)
{
	role(model, 10);
}
