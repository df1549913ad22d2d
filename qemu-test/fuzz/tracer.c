// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * A tracer: has some victims, lets them go, stops, kills and reaps them, and
 * sends requests about them in all states. Of victims that do not change their
 * ids it knows what these are, and compares after each step: with what a
 * request did, or that one that failed has changed nothing.
 *
 * A second thread sends requests about the same victims, which it does not
 * trace, and kills some in the midst of a request.
 */
#include <dirent.h>
#include <sys/resource.h>

#include "fuzz.h"

#define TRACEES	10
#define NESTS	3
#define OPTIONS	(PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | \
		 PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT)

struct tracee {
	pid_t pid;		/* in our namespace; 0: free */
	int pidfd;
	enum { RUNNING, STOPPED, LISTENING } state;
	int status;		/* of wait(), if stopped */
	bool steady;		/* nobody but us changes its ids */
	bool stale;		/* a group of it may have other numbers */
	struct ids ids;
};

/* Pid namespaces, each in the one before, by their inits. */
struct nest {
	pid_t init;
	int pidfd;
};

static struct tracee tracees[TRACEES];
static struct nest nests[NESTS];
static const struct tracing *how;
static int own_namespace = -1;

pid_t contested(void)
{
	if (!shared)
		return 300 + below(24);
	if (chance(92))
		return shared->first + below(shared->span);
	return PICK(0, 1, 2, -1, INT_MAX, INT_MIN, shared->pid_max - 1, shared->pid_max,
		    shared->pid_max + 1, getpid(), getppid());
}

static struct tracee *find(pid_t pid)
{
	for (unsigned int i = 0; i < TRACEES; i++)
		if (tracees[i].pid == pid)
			return &tracees[i];
	return NULL;
}

static struct tracee *pick(void)
{
	struct tracee *t = &tracees[below(TRACEES)];

	return t->pid ? t : NULL;
}

static struct tracee *pick_stopped(void)
{
	for (unsigned int i = 0; i < 2 * TRACEES; i++) {
		struct tracee *t = pick();

		if (t && t->state == STOPPED)
			return t;
	}
	return NULL;
}

static void forget(struct tracee *t)
{
	if (t->pidfd >= 0)
		close(t->pidfd);
	memset(t, 0, sizeof(*t));
	t->pidfd = -1;
}

static void ids_say(char *buf, size_t size, const struct ids *ids)
{
	int n = 0;

	buf[0] = 0;
	for (int i = 0; i < ids->levels && n < (int)size; i++)
		n += snprintf(buf + n, size - n, "%s%d/%d/%d", i ? " > " : "", ids->pid[i],
			      ids->pgid[i], ids->sid[i]);
}

static bool ids_equal(const struct ids *a, const struct ids *b)
{
	for (int i = 0; i < a->levels; i++)
		if (a->pid[i] != b->pid[i] || a->tgid[i] != b->tgid[i] ||
		    a->pgid[i] != b->pgid[i] || a->sid[i] != b->sid[i])
			return false;
	return a->levels == b->levels;
}

/* A number in use cannot be had; one of another world may have ended with it. */
static void verify_taken(pid_t nr, const char *what)
{
	int error;

	if (nr <= 0)
		return;
	error = number_try(nr);
	if (error != EEXIST)
		failure("clone3(set_tid=%d): %s, though it is %s", nr, strerror(error), what);
}

/* The kernel says of a victim what we know, also if it has been killed and is not reaped. */
static void verify(struct tracee *t, const char *after, int error)
{
	struct stat_line line;
	struct ids ids;
	pid_t pid;

	if (!t->steady)
		return;
	if (!ids_of(t->pid, &ids)) {
		failure("after %s (%s): there is no /proc/%d/status", after, strerror(error), t->pid);
		t->steady = false;
		return;
	}
	atomic_fetch_add(&shared->checks, 1);
	if (t->stale) {
		t->ids = ids;
		t->stale = false;
		return;
	}
	if (!ids_equal(&ids, &t->ids)) {
		char is[200], was[200];

		ids_say(is, sizeof(is), &ids);
		ids_say(was, sizeof(was), &t->ids);
		failure("after %s (%s): pid/pgid/sid is %s, must be %s", after, strerror(error), is, was);
		t->steady = false;
		return;
	}
	if (!stat_of(t->pid, &line) || line.pid != t->pid || line.pgid != ids.pgid[0] ||
	    line.sid != ids.sid[0])
		failure("after %s (%s): /proc/%d/stat says %d, group %d, session %d", after,
			strerror(error), t->pid, line.pid, line.pgid, line.sid);
	if (getpgid(t->pid) != ids.pgid[0] || getsid(t->pid) != ids.sid[0])
		failure("after %s (%s): %d has getpgid() %d, getsid() %d, must be %d, %d", after,
			strerror(error), t->pid, getpgid(t->pid), getsid(t->pid), ids.pgid[0],
			ids.sid[0]);
	pid = pid_of_pidfd(t->pidfd);
	if (pid != t->pid)
		failure("after %s (%s): the pidfd of %d is one of %d", after, strerror(error),
			t->pid, pid);
	if (ids.pgid[0] > 1 && kill(-ids.pgid[0], 0))
		failure("after %s (%s): kill(-%d, 0), group of %d: %s", after, strerror(error),
			ids.pgid[0], t->pid, strerror(errno));
	if (chance(10)) {
		verify_taken(ids.pid[0], "a process");
		verify_taken(ids.pgid[0], "a group");
		verify_taken(ids.sid[0], "a session");
	}
}

static void adopt(struct tracee *t, pid_t pid, bool steady)
{
	memset(t, 0, sizeof(*t));
	t->pid = pid;
	t->pidfd = sys_pidfd_open(pid, chance(50) ? 0 : PIDFD_THREAD);
	if (t->pidfd < 0)
		t->pidfd = sys_pidfd_open(pid, PIDFD_THREAD);
	t->steady = steady;
	if (!ids_of(pid, &t->ids)) {
		t->ids.levels = 1;
		t->ids.pid[0] = pid;
		t->steady = false;
	}
}

/* ---- Namespaces below ours ---- */

static void nest_init(void)
{
	prctl(PR_SET_NAME, "nest");
	for (;;)
		if (waitpid(-1, NULL, __WALL) < 0)
			sleep_us(1000);
}

static void map_ids(pid_t pid)
{
	static const char map[] = "0 0 1000\n";
	char path[64];

	for (unsigned int i = 0; i < 2; i++) {
		int fd;

		snprintf(path, sizeof(path), "/proc/%d/%s", pid, i ? "gid_map" : "uid_map");
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd >= 0) {
			if (write(fd, map, sizeof(map) - 1) < 0)
				say("%s: %s", path, strerror(errno));
			close(fd);
		}
	}
}

/* Children are made in the namespace of nest @depth - 1; 0 is ours. */
static bool descend(unsigned int depth)
{
	return !setns(depth ? nests[depth - 1].pidfd : own_namespace, CLONE_NEWPID);
}

static bool nest_make(unsigned int depth)
{
	struct fuzz_clone_args args = {
		.flags = CLONE_NEWPID | (chance(50) ? CLONE_NEWUSER : 0),
		.exit_signal = SIGCHLD,
	};
	pid_t pid;

	if (depth && !nests[depth - 1].init)
		return false;
	if (!descend(depth)) {
		descend(0);
		return false;
	}
	pid = sys_clone3(&args);
	if (!pid)
		nest_init();
	descend(0);
	if (pid < 0)
		return false;
	if (args.flags & CLONE_NEWUSER)
		map_ids(pid);
	nests[depth].pidfd = sys_pidfd_open(pid, 0);
	nests[depth].init = pid;
	return true;
}

static void nests_begin(void)
{
	own_namespace = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	for (unsigned int i = 0; i < NESTS; i++)
		if (!nest_make(i))
			break;
}

static void nests_step(void)
{
	for (unsigned int i = 0; i < NESTS; i++) {
		if (!nests[i].init)
			nest_make(i);
		else if (how->dying && chance(2))
			kill(nests[i].init, SIGKILL);
	}
}

static bool nest_ended(pid_t pid)
{
	for (unsigned int i = 0; i < NESTS; i++)
		if (nests[i].init == pid) {
			close(nests[i].pidfd);
			nests[i].init = 0;
			return true;
		}
	return false;
}

/* ---- Victims ---- */

static void spawn(void)
{
	enum victim kind;
	struct tracee *t = find(0);
	uint64_t seed = random_next();
	pid_t nr = contested(), pid;
	struct fuzz_clone_args args = { .exit_signal = SIGCHLD };
	unsigned int depth = how->nested ? below(NESTS + 1) : 0;

	if (!t)
		return;
	do
		kind = below(VICTIMS);
	while (!(how->victims & 1U << kind));
	if (chance(30)) {
		args.set_tid = (uintptr_t)&nr;
		args.set_tid_size = 1;
	}
	if (depth && (!nests[depth - 1].init || !descend(depth))) {
		descend(0);
		return;
	}
	pid = sys_clone3(&args);
	if (!pid) {
		prctl(PR_SET_NAME, "victim");
		random_begin(seed, 0);
		victim_run(kind);
	}
	if (depth)
		descend(0);
	if (pid < 0)
		return;
	adopt(t, pid, false);
	if (ptrace(PTRACE_SEIZE, pid, 0, OPTIONS)) {
		/* Dead already, or one that ends. */
		kill(pid, SIGKILL);
		waitpid(pid, NULL, __WALL);
		forget(t);
		return;
	}
	t->steady = victim_is_steady(kind) && ids_of(pid, &t->ids);
	if (chance(80))
		ptrace(PTRACE_INTERRUPT, pid, 0, 0);
}

/* Threads that were there before, and those of the kernel that work for a process. */
static void seize_threads(const struct tracee *t)
{
	struct dirent *entry;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", t->pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		pid_t tid = atoi(entry->d_name);
		struct tracee *free_one = find(0);

		if (tid <= 0 || !free_one || find(tid) || ptrace(PTRACE_SEIZE, tid, 0, OPTIONS))
			continue;
		adopt(free_one, tid, false);
		ptrace(PTRACE_INTERRUPT, tid, 0, 0);
	}
	if (dir)
		closedir(dir);
}

static void let_go(struct tracee *t)
{
	int event = t->status >> 16, sig = t->status >> 8 & 0xff;
	long request = PICK(PTRACE_CONT, PTRACE_CONT, PTRACE_SYSCALL);

	if (event == PTRACE_EVENT_STOP && sig != SIGTRAP && chance(70)) {
		if (!ptrace(PTRACE_LISTEN, t->pid, 0, 0)) {
			t->state = LISTENING;
			atomic_fetch_add(&shared->stops[STOP_LISTENING], 1);
		}
		return;
	}
	if (event || sig == (SIGTRAP | 0x80) || sig == SIGTRAP)
		sig = 0;
	if (!ptrace(request, t->pid, 0, sig))
		t->state = RUNNING;
}

static enum stop stop_of(pid_t pid, int status)
{
	struct stat_line line;
	int sig = status >> 8 & 0xff;

	switch (status >> 16) {
	case 0:
		return sig == SIGTRAP ? STOP_SYSCALL : STOP_SIGNAL;
	case PTRACE_EVENT_STOP:
		if (sig != SIGTRAP)
			return STOP_GROUP;
		return stat_of(pid, &line) && !strncmp(line.comm, "iou-", 4) ?
			STOP_WORKER : STOP_INTERRUPT;
	case PTRACE_EVENT_EXEC:
		return STOP_EXEC;
	case PTRACE_EVENT_EXIT:
		return STOP_EXIT;
	default:
		return STOP_FORK;
	}
}

static void stopped(pid_t pid, int status)
{
	struct tracee *t = find(pid);
	bool known = t;
	unsigned long former;

	atomic_fetch_add(&shared->stops[stop_of(pid, status)], 1);

	if (!t) {
		t = find(0);
		if (!t) {
			kill(pid, SIGKILL);
			ptrace(PTRACE_CONT, pid, 0, 0);
			return;
		}
		adopt(t, pid, false);
	}
	t->state = STOPPED;
	t->status = status;
	if (status >> 16 == PTRACE_EVENT_EXEC && !ptrace(PTRACE_GETEVENTMSG, pid, 0, &former) &&
	    (pid_t)former != pid && find(former))
		forget(find(former));
	if (known && t->steady)
		verify(t, "its running", 0);
	else if (!t->steady && !ids_of(pid, &t->ids)) {
		t->ids.levels = 1;
		t->ids.pid[0] = pid;
	}
}

static void drain(void)
{
	struct rusage usage;
	int status;
	pid_t pid;

	while ((pid = wait4(-1, &status, WNOHANG | __WALL, &usage)) > 0) {
		struct tracee *t = find(pid);

		if (WIFSTOPPED(status)) {
			stopped(pid, status);
			continue;
		}
		nest_ended(pid);
		if (t)
			forget(t);
	}
}

/* ---- Requests ---- */

/*
 * Whether a victim is still in the stop in which we have left it. One that was
 * killed leaves it, and may stand in the next one, at its exit, which can be
 * waited for.
 */
static bool is_held(const struct tracee *t)
{
	siginfo_t next = {};
	struct stat_line line;

	return t->state == STOPPED && stat_of(t->pid, &line) && line.state == 't' &&
	       !waitid(P_PID, t->pid, &next, WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL) &&
	       !next.si_pid;
}

static void refused(const struct tracee *t, unsigned int nr, int error)
{
	if ((error == ESRCH || error == EBUSY) && t->steady && is_held(t))
		failure("%s of %d: %s, though it is alive and stopped", request_names[nr],
			t->pid, strerror(error));
}

static void leads(const struct tracee *t, const struct ids *before)
{
	for (unsigned int i = 0; i < TRACEES; i++) {
		struct tracee *u = &tracees[i];

		if (u != t && u->pid && (u->ids.pgid[0] == before->pid[0] ||
					 u->ids.sid[0] == before->pid[0]))
			u->stale = true;
	}
}

static void set_pid(struct tracee *t)
{
	struct ids before = t->ids;
	struct ckpt_set_pid arg = {
		.pidfd = t->pidfd,
		.flags = chance(1) ? border() : 0,
		.count = 1 + below(t->ids.levels) + chance(3) - chance(3),
	};
	char after[100];
	int error;

	for (unsigned int i = 0; i < arg.count && i < CKPT_MAX_LEVEL; i++) {
		int level = t->ids.levels - 1 - (int)i;

		arg.nr[i] = chance(70) || level < 0 ? contested() : t->ids.pid[level];
	}
	error = request(CKPT_NR_SET_PID, &arg);
	if (!error) {
		for (unsigned int i = 0; i < arg.count; i++) {
			int level = t->ids.levels - 1 - (int)i;

			/* The namespaces around the world, where only a world without one of users has rights. */
			if (level < 0 && (shared->user || arg.nr[i] < 2))
				failure("SET_PID of %d takes %u numbers, the last is %d, of one in %d namespaces",
					t->pid, arg.count, arg.nr[i], t->ids.levels);
			if (level < 0)
				continue;
			if (arg.nr[i] < 2 && arg.nr[i] != t->ids.pid[level])
				failure("SET_PID of %d takes the number %d", t->pid, arg.nr[i]);
			t->ids.pid[level] = arg.nr[i];
			t->ids.tgid[level] = arg.nr[i];
		}
		if (before.pgid[0] == before.pid[0])
			memcpy(t->ids.pgid, t->ids.pid, sizeof(t->ids.pgid));
		if (before.sid[0] == before.pid[0])
			memcpy(t->ids.sid, t->ids.pid, sizeof(t->ids.sid));
		t->pid = t->ids.pid[0];
		leads(t, &before);
		if (!t->steady && pid_of_pidfd(t->pidfd) != t->pid)
			failure("SET_PID has made %d of %d, not %d", pid_of_pidfd(t->pidfd),
				before.pid[0], t->pid);
	}
	snprintf(after, sizeof(after), "SET_PID(%u: %d, %d, %d)", arg.count, arg.nr[0], arg.nr[1],
		 arg.nr[2]);
	verify(t, after, error);
	/* The old number is free at once, unless somebody has taken it. */
	if (!error && t->steady && t->pid != before.pid[0] && chance(20)) {
		struct stat_line line;
		pid_t pid = before.pid[0];

		if (stat_of(pid, &line) && line.pid != pid && is_held(t))
			failure("/proc/%d/stat is of %d, after a SET_PID", pid, line.pid);
	}
}

static pid_t some_id(const struct tracee *t, bool group)
{
	const struct tracee *other = pick();
	int inner = t->ids.levels ? t->ids.levels - 1 : 0;

	switch (below(8)) {
	case 0:
		return 0;
	case 1:
		return t->ids.pid[inner];
	case 2:
		return group ? t->ids.pgid[inner] : t->ids.sid[inner];
	case 3:
		if (other)
			return group ? other->ids.pgid[0] : other->ids.sid[0];
		return 0;
	case 4:
		return other ? other->ids.pid[0] : 0;
	default:
		return contested();
	}
}

static void set_ids(struct tracee *t)
{
	struct ckpt_set_ids arg = {
		.pidfd = t->pidfd,
		.flags = chance(1) ? border() : 0,
		.pgid = some_id(t, true),
		.sid = some_id(t, false),
	};
	int inner = t->ids.levels - 1, error;
	char after[100];

	/* A new session and its group at once is what often can be. */
	if (chance(30))
		arg.pgid = arg.sid = chance(50) ? t->ids.pid[inner < 0 ? 0 : inner] : contested();
	error = request(CKPT_NR_SET_IDS, &arg);
	snprintf(after, sizeof(after), "SET_IDS(%d, %d)", arg.pgid, arg.sid);
	if (!error && t->steady) {
		struct ids ids;

		/* What numbers a new group has further out is up to the kernel. */
		if (ids_of(t->pid, &ids)) {
			pid_t pgid = arg.pgid ? arg.pgid : t->ids.pgid[inner];
			pid_t sid = arg.sid ? arg.sid : t->ids.sid[inner];

			if (ids.pgid[inner] != pgid || ids.sid[inner] != sid)
				failure("after %s of %d: group %d, session %d", after, t->pid,
					ids.pgid[inner], ids.sid[inner]);
			memcpy(t->ids.pgid, ids.pgid, sizeof(ids.pgid));
			memcpy(t->ids.sid, ids.sid, sizeof(ids.sid));
		}
	}
	verify(t, after, error);
}

static void set_start(struct tracee *t)
{
	struct timespec now;
	struct ckpt_set_start arg = { .pidfd = t->pidfd };
	struct stat_line line;
	int error;

	clock_gettime(CLOCK_BOOTTIME, &now);
	arg.start_boottime = now.tv_sec * NSEC + now.tv_nsec;
	if (chance(70))
		arg.start_boottime -= below(INT_MAX);
	else
		arg.start_boottime = border();
	error = request(CKPT_NR_SET_START, &arg);
	if (!error && arg.start_boottime / NSEC > (uint64_t)now.tv_sec + 3600)
		failure("SET_START takes a time in the future: %llu",
			(unsigned long long)arg.start_boottime);
	/* It is seen from the namespaces outside too. */
	if (!error && shared->user)
		failure("SET_START succeeds without the right outside of the user namespace");
	/* Nothing began before the machine did. Of a thread it is that of the thread, and /proc/TID/stat shows it. */
	if (arg.start_boottime < shared->shift)
		arg.start_boottime = shared->shift;
	if (!error && t->steady && stat_of(t->pid, &line) &&
	    line.start != arg.start_boottime / (NSEC / 100))
		failure("after SET_START(%llu) /proc/%d/stat says %llu",
			(unsigned long long)arg.start_boottime, t->pid,
			(unsigned long long)line.start);
	verify(t, "SET_START", error);
}

static uint64_t amount(void)
{
	if (chance(60))
		return chance(50) ? 0 : below(INT_MAX);
	return border();
}

static uint64_t process_clock(pid_t pid)
{
	struct timespec time = { 0, 0 };

	clock_gettime((clockid_t)(~(unsigned int)pid << 3 | 2), &time);
	return time.tv_sec * NSEC + time.tv_nsec;
}

static void add_usage(struct tracee *t)
{
	struct ckpt_usage arg = {
		.pidfd = t->pidfd,
		.flags = chance(1) ? border() : 0,
		.runtime = amount(), .utime = amount(), .stime = amount(),
		.cutime = amount(), .cstime = amount(),
		.minflt = amount(), .majflt = amount(), .cminflt = amount(), .cmajflt = amount(),
		.inblock = amount(), .oublock = amount(), .nvcsw = amount(), .nivcsw = amount(),
		.maxrss = chance(50) ? 0 : amount(),
	};
	struct stat_line before, after;
	uint64_t clock_before, clock_after;
	unsigned long message;
	/*
	 * A task in a stop may be on its way off the processor yet, and its clock runs: a request
	 * waits for that (kernel/ptrace.c:ptrace_check_attach).
	 */
	bool known = t->steady && is_held(t) && stat_of(t->pid, &before) &&
		     !ptrace(PTRACE_GETEVENTMSG, t->pid, 0, &message);
	bool over;
	int error;

	clock_before = process_clock(t->pid);
	error = request(CKPT_NR_ADD_USAGE, &arg);
	clock_after = process_clock(t->pid);
	if (!error && shared->user)
		failure("ADD_USAGE succeeds without the right outside of the user namespace");
	known = known && stat_of(t->pid, &after) && is_held(t);
	if (!known)
		return;
	/* What a live thread has used so far may come on top of the limit. */
	over = arg.runtime > INT64_MAX - clock_before + 3600 * NSEC;
	if (!error && (over || arg.utime > INT64_MAX || arg.stime > INT64_MAX ||
		       arg.cutime > INT64_MAX || arg.cstime > INT64_MAX))
		failure("ADD_USAGE lets a time exceed 2^63 ns");
	if (error)
		memset(&arg, 0, sizeof(arg));
	if (clock_after - clock_before != arg.runtime)
		failure("ADD_USAGE (%s) has changed the clock of %d by %lld, not %llu",
			strerror(error), t->pid, (long long)(clock_after - clock_before),
			(unsigned long long)arg.runtime);
	if (after.minflt - before.minflt != arg.minflt ||
	    after.majflt - before.majflt != arg.majflt ||
	    after.cminflt - before.cminflt != arg.cminflt ||
	    after.cmajflt - before.cmajflt != arg.cmajflt)
		failure("ADD_USAGE (%s): page faults of %d differ", strerror(error), t->pid);
	if (after.utime < before.utime || after.stime < before.stime)
		failure("ADD_USAGE (%s): times of %d go back", strerror(error), t->pid);
	if (error && (after.cutime != before.cutime || after.cstime != before.cstime))
		failure("ADD_USAGE fails (%s) and changes times of children", strerror(error));
	verify(t, "ADD_USAGE", error);
}

static void read_sigactions(struct tracee *t)
{
	static struct ckpt_sigactions arg;
	int error;

	arg.pidfd = t->pidfd;
	arg.flags = chance(1) ? border() : 0;
	error = request(CKPT_NR_SIGACTIONS, &arg);
	if (!error && t->steady && arg.action[SIGKILL - 1].handler)
		failure("SIGKILL has a handler: %#llx",
			(unsigned long long)arg.action[SIGKILL - 1].handler);
	refused(t, CKPT_NR_SIGACTIONS, error);
}

static void read_thread(struct tracee *t)
{
	struct ckpt_thread arg = { .pidfd = t->pidfd, .flags = chance(1) ? border() : 0 };
	int error = request(CKPT_NR_THREAD, &arg);

	refused(t, CKPT_NR_THREAD, error);
	if (error)
		return;
	if (arg.restart.pad || arg.restart.kind > CKPT_RESTART_OTHER ||
	    arg.pdeath_signal < 0 || arg.pdeath_signal > CKPT_NSIG || arg.flags)
		failure("THREAD of %d: pad %u, kind %u, pdeath_signal %d", t->pid,
			arg.restart.pad, arg.restart.kind, arg.pdeath_signal);
	if (arg.restart.kind == CKPT_RESTART_NONE &&
	    (arg.restart.addr || arg.restart.val || arg.restart.remaining || arg.restart.clock))
		failure("THREAD of %d: no call, yet something of one", t->pid);
	if (t->steady && arg.restart.kind == CKPT_RESTART_OTHER)
		failure("THREAD of %d does not know a call that it must know", t->pid);
	if (arg.restart.remaining != UINT64_MAX && arg.restart.remaining > 200ULL * NSEC)
		failure("THREAD of %d: %llu ns remain of at most 100 s", t->pid,
			(unsigned long long)arg.restart.remaining);
}

static void read_process(struct tracee *t)
{
	struct ckpt_process arg = { .pidfd = t->pidfd, .flags = chance(1) ? border() : 0 };
	int error = request(CKPT_NR_PROCESS, &arg);

	refused(t, CKPT_NR_PROCESS, error);
	if (!error && arg.state & ~15U)
		failure("PROCESS of %d: state %#x", t->pid, arg.state);
}

/* A file that is not the pidfd of a tracee. */
static void ask_of_another(void)
{
	union request_argument arg = { 0 };
	unsigned int nr = below(CKPT_NR_PROCESS + 1);
	int self = -1;

	switch (below(4)) {
	case 0:
		self = arg.pidfd = sys_pidfd_open(getpid(), 0);
		break;
	case 1:
		self = arg.pidfd = sys_pidfd_open(1, 0);
		break;
	case 2:
		arg.pidfd = device;
		break;
	case 3:
		arg.pidfd = border();
		for (unsigned int i = 0; i < TRACEES; i++)
			if (arg.pidfd == tracees[i].pidfd)
				arg.pidfd = -1;
		break;
	}
	if (!request(nr, &arg))
		failure("%s of fd %d succeeds, which is no tracee's", request_names[nr], arg.pidfd);
	if (self >= 0)
		close(self);
}

static void ask(struct tracee *t, unsigned int nr)
{
	/* What a request leaves alone is compared with what was there before it. */
	if (t->stale)
		verify(t, "a change of its leader", 0);
	switch (nr) {
	case CKPT_NR_SET_PID:
		set_pid(t);
		break;
	case CKPT_NR_SET_IDS:
		set_ids(t);
		break;
	case CKPT_NR_SET_START:
		set_start(t);
		break;
	case CKPT_NR_ADD_USAGE:
		add_usage(t);
		break;
	case CKPT_NR_SIGACTIONS:
		read_sigactions(t);
		break;
	case CKPT_NR_THREAD:
		read_thread(t);
		break;
	case CKPT_NR_PROCESS:
		read_process(t);
		break;
	}
}

/* ---- The thread that has no right to the tracees ---- */

static void *disturb(void *seed)
{
	static union request_argument arg;

	caller_begin((uintptr_t)seed, 77);
	while (going()) {
		unsigned int nr = below(CKPT_NR_PROCESS + 1);
		int pidfd = tracees[below(TRACEES)].pidfd;

		if (chance(4)) {
			sys_pidfd_send_signal(pidfd, PICK(SIGKILL, SIGSTOP, SIGCONT, SIGTSTP));
			continue;
		}
		memset(&arg, 0, sizeof(arg));
		arg.pidfd = pidfd;
		if (nr == CKPT_NR_SET_PID) {
			arg.set_pid.count = 1;
			arg.set_pid.nr[0] = shared->first + below(shared->span);
		}
		if (!request(nr, &arg))
			failure("%s succeeds in a thread that does not trace", request_names[nr]);
		sleep_us(below(3000));
	}
	return NULL;
}

static void step(void)
{
	unsigned int total = how->weight_ids + how->weight_times + how->weight_read +
		how->weight_stop;
	unsigned int way = below(total);
	/* Mostly of one that is stopped. */
	struct tracee *t = chance(90) ? pick_stopped() : pick();

	if (!t) {
		spawn();
		t = pick();
		if (t && t->state == RUNNING)
			ptrace(PTRACE_INTERRUPT, t->pid, 0, 0);
		if (chance(20))
			sleep_us(200);
		return;
	}
	if (way < how->weight_ids) {
		ask(t, PICK(CKPT_NR_SET_PID, CKPT_NR_SET_IDS));
	} else if ((way -= how->weight_ids) < how->weight_times) {
		ask(t, PICK(CKPT_NR_SET_START, CKPT_NR_ADD_USAGE));
	} else if ((way -= how->weight_times) < how->weight_read) {
		if (chance(5))
			ask_of_another();
		else
			ask(t, PICK(CKPT_NR_SIGACTIONS, CKPT_NR_THREAD, CKPT_NR_PROCESS));
	} else {
		switch (below(9)) {
		case 8:
			if (!t->steady)
				seize_threads(t);
			break;
		case 0:
			if (chance(30))
				sys_pidfd_send_signal(t->pidfd, SIGKILL);
			break;
		case 1:
			if (chance(30) && t->state == STOPPED && !ptrace(PTRACE_DETACH, t->pid, 0, 0))
				forget(t);
			break;
		case 2:
			ptrace(PTRACE_INTERRUPT, t->pid, 0, 0);
			break;
		case 3:
			spawn();
			break;
		case 4:
			sys_pidfd_send_signal(t->pidfd, PICK(SIGSTOP, SIGCONT, SIGTSTP, SIGUSR2));
			break;
		default:
			if (t->state == STOPPED) {
				verify(t, "all", 0);
				let_go(t);
			}
			break;
		}
	}
}

void tracer_run(const struct tracing *tracing)
{
	pthread_t thread;
	uint64_t seed = random_next();

	how = tracing;
	for (unsigned int i = 0; i < TRACEES; i++)
		tracees[i].pidfd = -1;
	/* Groups and sessions of the victims are then not those of other tracers. */
	setsid();
	if (how->nested)
		nests_begin();
	if (chance(60) && pthread_create(&thread, NULL, disturb, (void *)seed))
		say("no second thread: %s", strerror(errno));
	while (going()) {
		drain();
		if (how->nested && chance(5))
			nests_step();
		step();
	}
	/* Some end themselves, the others are killed with their world. */
	if (chance(50))
		for (;;)
			pause();
	_exit(0);
}
