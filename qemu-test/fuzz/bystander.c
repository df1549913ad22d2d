// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Bystanders: what any program may do, on the same numbers and at the same time
 * as the device is used. None of it may fail in ways that it could not before.
 */
#include <dirent.h>
#include <sys/resource.h>
#include <sys/times.h>

#include "fuzz.h"

/* Who acts has the processor first. */
static void bystander_begin(void)
{
	setpriority(PRIO_PROCESS, 0, 5);
}

static void reap(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* Groups and sessions, of itself and of children that come and go. */
void bystander_moves(void)
{
	bystander_begin();
	while (going()) {
		pid_t pid = chance(40) ? fork() : -1;

		if (!pid) {
			/* Rules that hold for every program. */
			if (chance(50) && setsid() > 0) {
				pid_t self = getpid();

				if (getsid(0) != getpgrp() || getpid() != self)
					failure("after setsid(): process %d, group %d, session %d",
						self, getpgrp(), getsid(0));
			} else if (!setpgid(0, chance(50) ? 0 : contested())) {
				kill(0, 0);
			}
			sleep_us(below(20000));
			_exit(0);
		}
		if (pid > 0 && chance(50))
			setpgid(pid, chance(50) ? 0 : contested());
		kill(-contested(), PICK(0, 0, SIGCONT, SIGWINCH, SIGURG));
		getpriority(PRIO_PGRP, contested());
		getsid(contested());
		getpgid(contested());
		if (chance(10))
			sleep_us(below(2000));
		reap();
	}
	_exit(0);
}

static bool is_child(pid_t pid, const char *what)
{
	struct stat_line line;
	char path[32];
	struct stat first, second;

	if (!stat_of(pid, &line)) {
		failure("%s: /proc/%d is not there, though it is our child", what, pid);
		return false;
	}
	if (line.pid != pid || line.ppid != getpid()) {
		failure("%s: /proc/%d is process %d of parent %d, not our child", what, pid,
			line.pid, line.ppid);
		return false;
	}
	snprintf(path, sizeof(path), "/proc/%d", pid);
	if (!stat(path, &first) && !stat(path, &second) && first.st_ino != second.st_ino)
		failure("%s: /proc/%d has two inodes", what, pid);
	return true;
}

/* A process of a number of one's choice is that process for everybody as long as it is not reaped. */
void bystander_forks(void)
{
	bystander_begin();
	while (going()) {
		pid_t nr = contested(), pid;
		struct fuzz_clone_args args = {
			.exit_signal = SIGCHLD,
			.set_tid = (uintptr_t)&nr,
			.set_tid_size = chance(80),
		};
		int status;

		if (!args.set_tid_size)
			args.set_tid = 0;
		pid = sys_clone3(&args);
		if (!pid) {
			if (args.set_tid && getpid() != nr)
				failure("a child made as %d is %d", nr, getpid());
			_exit(7);
		}
		if (pid < 0) {
			if (errno != EEXIST && errno != EAGAIN && errno != EINVAL && errno != ENOMEM)
				failure("clone3(set_tid=%d): %s", nr, strerror(errno));
			continue;
		}
		if (args.set_tid && pid != nr)
			failure("clone3(set_tid=%d) gives %d", nr, pid);
		is_child(pid, "a child");
		if (kill(pid, 0))
			failure("kill(%d, 0) of a child: %s", pid, strerror(errno));
		if (waitpid(pid, &status, 0) != pid)
			failure("waitpid(%d) of a child: %s", pid, strerror(errno));
		atomic_fetch_add(&shared->checks, 1);
	}
	_exit(0);
}

static void read_of(pid_t pid, const char *name)
{
	char path[80], buf[2048];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	read_file(path, buf, sizeof(buf));
}

/* All that shows times, counts and numbers. */
void bystander_reads(void)
{
	bystander_begin();
	while (going()) {
		DIR *dir = opendir("/proc");
		struct dirent *entry;
		pid_t last = 0;

		while (dir && (entry = readdir(dir)) && going()) {
			pid_t pid = atoi(entry->d_name);
			struct stat_line line;

			if (pid <= 0)
				continue;
			if (pid <= last)
				failure("/proc lists %d after %d", pid, last);
			last = pid;
			if (stat_of(pid, &line)) {
				/* Times that are sums must not have wrapped: 2^63 ns in ticks. */
				if (line.utime + line.stime > 2 * (UINT64_MAX / 2 / 10000000 + 1))
					failure("/proc/%d/stat: utime %llu, stime %llu", pid,
						(unsigned long long)line.utime,
						(unsigned long long)line.stime);
			}
			read_of(pid, PICK("status", "stat", "io", "sched", "timers", "cmdline"));
			if (chance(5)) {
				struct timespec time;

				clock_gettime(~pid << 3 | below(3), &time);
			}
		}
		if (dir)
			closedir(dir);
	}
	_exit(0);
}

/* SIGKILL to whoever has one of the numbers that are fought for; those who act have none of them. */
void bystander_kills(void)
{
	bystander_begin();
	while (going()) {
		pid_t pid = shared->first + below(shared->span);
		struct stat_line line;

		sleep_us(2000 + below(20000));
		if (stat_of(pid, &line) && !strcmp(line.comm, "victim"))
			kill(pid, PICK(SIGKILL, SIGKILL, SIGSTOP, SIGCONT, SIGTERM));
	}
	_exit(0);
}

/* Sessions with terminals, that end in all ways. */
void bystander_terminals(void)
{
	bystander_begin();
	signal(SIGHUP, SIG_IGN);
	while (going()) {
		int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
		pid_t pid, group;

		if (master < 0 || grantpt(master) || unlockpt(master))
			break;
		pid = fork();
		if (!pid) {
			int slave;

			setsid();
			slave = ioctl(master, TIOCGPTPEER, O_RDWR);
			ioctl(slave, TIOCSCTTY, 0);
			signal(SIGTTOU, SIG_IGN);
			for (unsigned int i = 0; i < 8; i++) {
				pid_t child = fork();

				if (!child) {
					int tty = open("/dev/tty", O_RDWR | O_NONBLOCK);
					pid_t session = -1;

					setpgid(0, 0);
					if (tty >= 0 && !ioctl(tty, TIOCGSID, &session) &&
					    session != getsid(0))
						failure("the terminal of session %d is one of %d",
							getsid(0), session);
					sleep_us(below(10000));
					_exit(0);
				}
				group = chance(50) ? child : contested();
				ioctl(slave, TIOCSPGRP, &group);
				if (chance(30))
					tcgetpgrp(slave);
				group = getpid();
				ioctl(slave, TIOCSPGRP, &group);
			}
			if (chance(30))
				vhangup();
			if (chance(30))
				ioctl(slave, TIOCNOTTY);
			_exit(0);
		}
		for (unsigned int i = 0; i < 20 && going(); i++) {
			/* ^C and ^Z are typed. */
			if (write(master, PICK("\3", "\32", "\34"), 1) < 0)
				break;
			group = contested();
			ioctl(master, TIOCGSID, &group);
			ioctl(master, TIOCSIG, PICK(SIGINT, SIGTSTP, SIGQUIT));
			sleep_us(below(2000));
		}
		if (chance(50) && pid > 0)
			kill(pid, SIGKILL);
		close(master);
		sleep_us(below(2000));
		reap();
	}
	while (going())
		sleep_us(10000);
	_exit(0);
}

/* Others' pidfds, threads and numbers that are no business of this process: all requests must be refused. */
void bystander_asks(void)
{
	bystander_begin();
	while (going()) {
		union request_argument arg = { 0 };
		unsigned int nr = below(CKPT_NR_PROCESS + 1);
		pid_t pid = chance(20) ? PICK(1, getpid(), getppid()) : contested();
		int error;

		arg.pidfd = sys_pidfd_open(pid, chance(50) ? 0 : PIDFD_THREAD);
		if (nr == CKPT_NR_SET_PID) {
			arg.set_pid.count = 1;
			arg.set_pid.nr[0] = contested();
		}
		error = request(nr, &arg);
		if (!error)
			failure("%s succeeds for a task (%d) that the caller does not trace",
				request_names[nr], pid);
		if (arg.pidfd >= 0)
			close(arg.pidfd);
		if (arg.pidfd < 0)
			sleep_us(200);
	}
	_exit(0);
}
