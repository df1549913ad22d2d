// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * The world of a round: pid, mount, network and other namespaces of its own,
 * perhaps in a user namespace, and with a clock that was started earlier. Its
 * PID 1 starts the play, has the oracle look, kills all, and looks whether
 * nothing is left. That the world can be torn down is a test too.
 */
#include <net/if.h>
#include <netinet/in.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <ucontext.h>

#include "fuzz.h"

#define PID_MAX		350
#define SPAN		24
#define ROLES		32
#define SHIFT		1000000LL	/* s */
/* For what ends by itself; emulated machines are slow, and debug kernels too. */
#define PATIENCE	(300 * NSEC)
/* Requests that a round goes on for, for ten times as long as it would. */
#define WANTED		400

static pid_t roles[ROLES];
static unsigned int roles_count;

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		say("%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* Where a process of the play has crashed; without it only its death would be seen. */
static void crashed(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *c = context;

	failure("signal %d, code %d, address %p, at %#llx, sp %#llx%s", sig, info->si_code, info->si_addr,
		c->uc_mcontext.gregs[REG_RIP], c->uc_mcontext.gregs[REG_RSP],
		fault_is_armed() ? ", while an allocation was to fail" : "");
	_exit(1);
}

pid_t role(void (*run)(void), unsigned int number)
{
	struct sigaction crash = { .sa_sigaction = crashed, .sa_flags = SA_SIGINFO };
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_NAME, "role");
		sigaction(SIGSEGV, &crash, NULL);
		sigaction(SIGBUS, &crash, NULL);
		caller_begin(shared->round_seed, number);
		run();
		_exit(0);
	}
	if (pid > 0 && roles_count < ROLES)
		roles[roles_count++] = pid;
	return pid;
}

/* A process of the play may be killed by another one, but must not crash. */
static void ended(pid_t pid, int status)
{
	for (unsigned int i = 0; i < roles_count; i++) {
		if (roles[i] != pid)
			continue;
		roles[i] = 0;
		if (WIFSIGNALED(status) &&
		    strchr("\4\6\7\10\13\37", WTERMSIG(status)))
			failure("process %u of the play has died of signal %d", i, WTERMSIG(status));
	}
}

/* Whether there are children that have not ended. */
static bool reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
		ended(pid, status);
	return !pid;
}

static bool roles_left(void)
{
	for (unsigned int i = 0; i < roles_count; i++)
		if (roles[i] > 0)
			return true;
	return false;
}

static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request))
		say("lo: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void furnish(void)
{
	char text[16], buf[32];

	setsid();
	prctl(PR_SET_NAME, "stage");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("proc", "/proc", "proc", 0, NULL))
		say("proc: %s", strerror(errno));
	mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=666,mode=620");
	snprintf(text, sizeof(text), "%d", PID_MAX);
	write_to("/proc/sys/kernel/pid_max", text);
	shared->pid_max = PID_MAX;
	if (read_file("/proc/sys/kernel/pid_max", buf, sizeof(buf)) <= 0 || atoi(buf) != PID_MAX)
		failure("pid_max of the world cannot be set");
	shared->first = PICK(300, 300, 300, 20);
	shared->span = SPAN;
	loopback_up();
}

static void tear_down(void)
{
	int64_t until = now_ns() + (chance(50) ? 2 * NSEC : 0);

	shared->over = 1;
	while (reap() && roles_left() && now_ns() < until)
		sleep_us(5000);
	until = now_ns() + PATIENCE;
	do {
		kill(-1, SIGKILL);
		if (!reap())
			return;
		sleep_us(5000);
	} while (now_ns() < until);
	failure("there are processes that SIGKILL does not end");
	snapshot_say();
}

static void stage(const struct play *play)
{
	int64_t start = now_ns();
	int64_t look;

	random_begin(shared->round_seed, 0);
	furnish();
	shared->over = 0;
	shared->end = start + play->seconds * NSEC;
	shared->limit = start + 10 * play->seconds * NSEC;
	shared->wanted = device < 0 ? 0 : WANTED;
	look = start + play->seconds * NSEC / 3;
	play->start();
	while (going() && (reap(), roles_left())) {
		sleep_us(5000);
		if (play->freezes && now_ns() > look) {
			int64_t before = now_ns(), took;

			oracle_freeze();
			took = now_ns() - before;
			/* Time in which nothing moves is none. */
			shared->end += took;
			shared->limit += took;
			look = now_ns() + play->seconds * NSEC / 3;
		}
	}
	tear_down();
	oracle_empty();
	_exit(0);
}

/* Makes the world and waits for its end; a process of its own, as it may be that it never comes. */
static void launch(const struct play *play, bool user, bool shifted)
{
	struct fuzz_clone_args args = {
		.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
			(user ? CLONE_NEWUSER : 0),
		.exit_signal = SIGCHLD,
	};
	int pipes[2], status;
	char byte, offset[40];
	pid_t pid;

	snprintf(offset, sizeof(offset), "boottime %lld 0", SHIFT);
	if (pipe2(pipes, O_CLOEXEC))
		_exit(1);
	if (shifted && !unshare(CLONE_NEWTIME))
		write_to("/proc/self/timens_offsets", offset);
	pid = sys_clone3(&args);
	if (!pid) {
		close(pipes[1]);
		if (read(pipes[0], &byte, 1) < 0)
			_exit(1);
		stage(play);
	}
	if (pid < 0) {
		say("no world: %s", strerror(errno));
		_exit(2);
	}
	shared->stage = pid;
	if (user) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
		write_to(path, "0 0 65536\n");
		snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
		write_to(path, "0 0 65536\n");
	}
	close(pipes[1]);
	while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
		;
	_exit(status ? 3 : 0);
}

static bool wait_until(pid_t pid, int64_t until, int *status)
{
	while (waitpid(pid, status, WNOHANG) == 0) {
		if (now_ns() > until)
			return false;
		sleep_us(10000);
	}
	return true;
}

bool world_run(const struct play *play, uint64_t seed)
{
	bool user, shifted;
	int status;
	pid_t pid;

	shared->round_seed = seed;
	shared->stage = 0;
	shared->end = INT64_MAX;
	shared->calls = 0;
	shared->round_failures = 0;
	shared->over = 0;
	snprintf(shared->play, sizeof(shared->play), "%s", play->name);
	random_begin(seed, 1);
	shared->user = user = play->user && chance(25);
	shifted = chance(20);
	shared->shift = shifted ? SHIFT * NSEC : 0;
	fflush(stdout);
	pid = fork();
	if (!pid)
		launch(play, user, shifted);
	if (pid < 0) {
		say("fork: %s", strerror(errno));
		return true;
	}
	if (wait_until(pid, now_ns() + 10 * play->seconds * NSEC + 3 * PATIENCE, &status)) {
		if (status)
			failure("PID 1 of the world has died: %#x", status);
		return true;
	}
	failure("the world does not end");
	snapshot_say();
	write_to("/proc/sysrq-trigger", "w");
	if (shared->stage > 0)
		kill(shared->stage, SIGKILL);
	if (wait_until(pid, now_ns() + PATIENCE, &status))
		return true;
	failure("the world cannot be torn down");
	snapshot_say();
	write_to("/proc/sysrq-trigger", "t");
	return false;
}
