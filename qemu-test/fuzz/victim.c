// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Victims: what processes of all kinds do while they are traced, stopped at any
 * instant, given other numbers, and killed. None of them ends well or badly:
 * who made them kills them.
 */
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "fuzz.h"

#define STACK	(64 << 10)

bool victim_is_steady(enum victim kind)
{
	switch (kind) {
	case VICTIM_IDLE:
	case VICTIM_BUSY:
	case VICTIM_FORKER:
	case VICTIM_EXEC:
	case VICTIM_SLEEPER:
	case VICTIM_STOPPED:
	case VICTIM_TIMERS:
		return true;
	default:
		return false;
	}
}

static void idle(void)
{
	for (;;)
		pause();
}

static void busy(void)
{
	for (;;) {
		getppid();
		sched_yield();
	}
}

/* Not fork() of the C library, which a child of a thread may be in the midst of. */
static pid_t plain_fork(unsigned long flags)
{
	return syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
}

static void forker(void)
{
	for (;;) {
		pid_t pid = plain_fork(0);

		if (!pid) {
			if (chance(20))
				sleep_us(below(2000));
			_exit(0);
		}
		if (pid > 0 && chance(90))
			while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
				;
		else
			sleep_us(1000);
	}
}

/* Changes its own group and session, by the rules. */
static void mover(void)
{
	for (;;) {
		switch (below(6)) {
		case 0:
			setsid();
			break;
		case 1:
			setpgid(0, 0);
			break;
		case 2:
			setpgid(0, contested());
			break;
		case 3:
			setpgid(0, getppid());
			break;
		default:
			sleep_us(below(3000));
			break;
		}
		/* A child takes group and session along. */
		if (chance(15)) {
			pid_t pid = plain_fork(0);

			if (!pid) {
				if (chance(50))
					setpgid(0, 0);
				sleep_us(below(5000));
				_exit(0);
			}
			if (pid > 0 && chance(50))
				setpgid(pid, chance(50) ? pid : contested());
		}
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

/* The new program is this one, which is a victim again. */
static void executes(enum victim kind)
{
	char number[16], seed[32];
	char *const argv[] = { "fuzz", "--victim", number, seed, NULL };
	char *const envp[] = { NULL };

	sleep_us(below(5000));
	snprintf(number, sizeof(number), "%d", kind);
	snprintf(seed, sizeof(seed), "%llu", (unsigned long long)random_next());
	execve("/proc/self/exe", argv, envp);
	idle();
}

static void *thread_short(void *arg)
{
	(void)arg;
	sched_yield();
	return NULL;
}

static void *thread_idle(void *arg)
{
	(void)arg;
	idle();
	return NULL;
}

static void *thread_exec(void *kind)
{
	random_begin(getpid(), sys_gettid());
	executes((intptr_t)kind);
	return NULL;
}

static void spawn(void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_create(&thread, &attr, run, arg);
	pthread_attr_destroy(&attr);
}

static void threads(void)
{
	spawn(thread_idle, NULL);
	for (;;) {
		spawn(thread_short, NULL);
		sleep_us(500 + below(2000));
	}
}

static int table_child(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return 0;
}

/* Tasks that share all tables and yet are processes of their own. */
static void tables(void)
{
	static char stacks[3][STACK] __attribute__((aligned(16)));

	for (unsigned int i = 0; i < ARRAY_SIZE(stacks); i++)
		clone(table_child, stacks[i] + STACK, CLONE_VM | CLONE_SIGHAND | CLONE_FILES |
		      CLONE_FS | (i ? SIGCHLD : 0), NULL);
	busy();
}

static void dead_leader(void)
{
	spawn(thread_idle, NULL);
	spawn(thread_idle, NULL);
	syscall(SYS_exit, 0);
	__builtin_unreachable();
}

/* The leader of a session that has a terminal, and members. */
static void terminal(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;

	setsid();
	if (master >= 0 && !grantpt(master) && !unlockpt(master)) {
		slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
		ioctl(slave, TIOCSCTTY, 0);
		/* Not to be stopped by output to it from the background. */
		signal(SIGTTOU, SIG_IGN);
		for (;;) {
			pid_t pid = plain_fork(0), group = contested();

			if (!pid) {
				int tty = open("/dev/tty", O_RDWR);

				if (chance(50))
					setpgid(0, 0);
				if (tty >= 0)
					ioctl(tty, TIOCNOTTY);
				sleep_us(below(20000));
				_exit(0);
			}
			if (pid > 0 && chance(50))
				group = pid;
			ioctl(slave, TIOCSPGRP, &group);
			sleep_us(below(10000));
			group = getpgrp();
			ioctl(slave, TIOCSPGRP, &group);
			while (waitpid(-1, NULL, WNOHANG) > 0)
				;
		}
	}
	idle();
}

/* Calls that a stop interrupts and that go on by restart_syscall(). */
static void sleeper(void)
{
	static uint32_t word;
	struct timespec time = { 100, 0 };
	struct pollfd nothing = { -1, 0, 0 };

	for (;;) {
		switch (below(4)) {
		case 0:
			nanosleep(&time, &time);
			break;
		case 1:
			clock_nanosleep(PICK(CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME), 0, &time, NULL);
			break;
		case 2:
			poll(&nothing, below(2), 100000);
			break;
		case 3:
			syscall(SYS_futex, &word, FUTEX_WAIT, 0, &time, NULL, 0);
			break;
		}
		time.tv_sec = 100;
	}
}

static void vforks(void)
{
	for (;;) {
		pid_t pid = vfork();

		if (!pid) {
			struct timespec time = { 0, 3000000 };

			syscall(SYS_nanosleep, &time, NULL);
			_exit(0);
		}
		while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
}

static void stopped(void)
{
	for (;;) {
		raise(PICK(SIGSTOP, SIGTSTP, SIGTTIN));
		sleep_us(below(1000));
	}
}

/* Worker threads of the kernel that belong to a process; by a read of an empty pipe, and polling. */
static void io_uring(void)
{
	struct io_uring_params params = { .flags = chance(50) ? IORING_SETUP_SQPOLL : 0 };
	int fd = syscall(SYS_io_uring_setup, 8, &params), pipes[2];
	struct io_uring_sqe *sqe;
	uint32_t *tail, *array;
	char *ring;

	if (fd < 0 || pipe(pipes))
		idle();
	ring = mmap(NULL, params.sq_off.array + params.sq_entries * 4, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
	sqe = mmap(NULL, params.sq_entries * sizeof(*sqe), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQES);
	if (ring == MAP_FAILED || sqe == MAP_FAILED)
		idle();
	tail = (uint32_t *)(ring + params.sq_off.tail);
	array = (uint32_t *)(ring + params.sq_off.array);
	for (unsigned int i = 0; i < 4; i++) {
		static char buf[64];

		memset(&sqe[i], 0, sizeof(sqe[i]));
		sqe[i].opcode = IORING_OP_READ;
		sqe[i].flags = IOSQE_ASYNC;
		sqe[i].fd = pipes[0];
		sqe[i].addr = (uintptr_t)buf;
		sqe[i].len = sizeof(buf);
		array[i] = i;
	}
	__atomic_store_n(tail, 4, __ATOMIC_RELEASE);
	syscall(SYS_io_uring_enter, fd, 4, 0, 0, NULL, 0);
	for (;;) {
		sleep_us(below(20000));
		if (write(pipes[1], "x", 1) < 0)
			idle();
	}
}

static void timers(void)
{
	struct itimerval interval = { { 0, 20000 }, { 0, 20000 } };
	struct rlimit cpu;
	timer_t timer;
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec far = { { 0, 0 }, { 3600, 0 } };

	signal(SIGPROF, SIG_IGN);
	signal(SIGVTALRM, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	setitimer(ITIMER_PROF, &interval, NULL);
	if (chance(50))
		setitimer(ITIMER_VIRTUAL, &interval, NULL);
	if (!timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer))
		timer_settime(timer, 0, &far, NULL);
	if (chance(20) && !getrlimit(RLIMIT_CPU, &cpu)) {
		cpu.rlim_cur = 1000;
		setrlimit(RLIMIT_CPU, &cpu);
	}
	for (;;) {
		struct rusage usage;

		getrusage(PICK(RUSAGE_SELF, RUSAGE_CHILDREN, RUSAGE_THREAD), &usage);
		sched_yield();
	}
}

void victim_run(enum victim kind)
{
	for (int sig = 1; sig < 32; sig++)
		signal(sig, SIG_DFL);
	/* Who acts has the processor first. */
	setpriority(PRIO_PROCESS, 0, 10);
	switch (kind) {
	case VICTIM_BUSY:
		busy();
		break;
	case VICTIM_FORKER:
		forker();
		break;
	case VICTIM_MOVER:
		mover();
		break;
	case VICTIM_EXEC:
		executes(VICTIM_EXEC);
		break;
	case VICTIM_THREADS:
		threads();
		break;
	case VICTIM_THREAD_EXEC:
		spawn(thread_idle, NULL);
		spawn(thread_exec, (void *)(intptr_t)VICTIM_THREAD_EXEC);
		busy();
		break;
	case VICTIM_TABLES:
		tables();
		break;
	case VICTIM_EXIT:
		sleep_us(below(20000));
		_exit(below(256));
	case VICTIM_DEAD_LEADER:
		dead_leader();
		break;
	case VICTIM_TTY:
		terminal();
		break;
	case VICTIM_SLEEPER:
		sleeper();
		break;
	case VICTIM_VFORK:
		vforks();
		break;
	case VICTIM_STOPPED:
		stopped();
		break;
	case VICTIM_IO_URING:
		io_uring();
		break;
	case VICTIM_TIMERS:
		timers();
		break;
	case VICTIM_IDLE:
	default:
		break;
	}
	idle();
	__builtin_unreachable();
}
