/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * What the files of the fuzzer share. A run is a sequence of rounds; a round
 * is one play (play.c) in a world of its own (world.c): new namespaces, with a
 * small range of pids. Processes of the world drive the device, some of them as
 * tracers of victims, while bystanders do what any program may do. An oracle
 * looks at the world from several sides, while it is frozen and when all that
 * lived in it is dead.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <linux/ckpt.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define NSEC		1000000000LL

#ifndef PIDFD_THREAD
#define PIDFD_THREAD	O_EXCL
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME	0x80
#endif

/* ---- random.c: what comes next, the same for the same seed ---- */

/* Each thread that draws must have begun with a seed; @role tells them apart. */
void random_begin(uint64_t seed, unsigned int role);
uint64_t random_next(void);
unsigned int below(unsigned int limit);
bool chance(unsigned int percent);
/* A number at or beside a border of integers. */
uint64_t border(void);
/* One of some values; what the first is, all are. */
#define PICK(first, ...) \
	({ const __typeof__((first) + 0) list_[] = { first, __VA_ARGS__ }; \
	   list_[below(ARRAY_SIZE(list_))]; })

/* ---- shared.c: counts and failures, in memory that all processes share ---- */

#define REQUESTS	(CKPT_NR_MESSAGES + 1)
#define ERRNOS		134
#define PC_SLOTS	(1U << 18)

/* In which stops victims were; the names are in main.c. */
enum stop {
	STOP_INTERRUPT, STOP_GROUP, STOP_LISTENING, STOP_SIGNAL, STOP_SYSCALL, STOP_FORK,
	STOP_EXEC, STOP_EXIT, STOP_WORKER, STOPS,
};

struct shared {
	uint64_t seed;			/* of the run */
	uint64_t round_seed;
	unsigned int round;
	char play[16];
	pid_t stage;			/* PID 1 of the world, as its maker sees it */
	bool user;			/* the world is a user namespace's */
	uint64_t shift;			/* how much later it is in it, in ns of CLOCK_BOOTTIME */
	int pid_max;			/* of the world */
	int first, span;		/* the numbers that are fought for */
	int64_t end, limit;		/* when the round is over, CLOCK_MONOTONIC; see going() */
	_Atomic int over;
	_Atomic uint64_t calls;		/* of the device in this round */
	unsigned int wanted;
	_Atomic uint64_t count[REQUESTS][ERRNOS];
	_Atomic uint64_t odd;		/* requests that are none, and their like */
	_Atomic uint64_t stops[STOPS];
	_Atomic uint64_t compat, injected, checks, frozen, gave_up;
	_Atomic unsigned int failures, round_failures;
	char first_failure[160];
	_Atomic unsigned int pc_count;
	_Atomic uint32_t pcs[PC_SLOTS];
};

extern struct shared *shared;

void shared_make(void);
int64_t now_ns(void);
/* Whether the round still goes on; on a busy machine until something has happened in it. */
bool going(void);
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Something that must not be; says so at once, with seed and round. False if that round has said enough. */
bool failure(const char *format, ...) __attribute__((format(printf, 1, 2)));
void sleep_us(unsigned int us);

/* ---- request.c: calls of the device ---- */

extern int device;
extern bool compat_works;	/* int $0x80 reaches the 32-bit entry */
extern const char *const request_names[REQUESTS];
extern const size_t request_sizes[REQUESTS];

/* An argument of whichever request. Those of tasks begin with a pidfd. */
union request_argument {
	int32_t pidfd;
	struct ckpt_set_pid set_pid;
	struct ckpt_set_ids set_ids;
	struct ckpt_set_start set_start;
	struct ckpt_usage usage;
	struct ckpt_sigactions sigactions;
	struct ckpt_thread thread;
	struct ckpt_process process;
	struct ckpt_tcp tcp;
	struct ckpt_messages messages;
};

/* A process or thread that calls the device begins with this. */
void caller_begin(uint64_t seed, unsigned int role);
void request_probe(void);
/*
 * Each returns 0 or an errno. request() is a call as the header has it, now and
 * then from 32-bit code, or with an allocation that fails.
 */
int request(unsigned int nr, void *arg);
/* The same without any of that. */
int request_plain(unsigned int nr, void *arg);
/* Any command with any argument; counted as odd. */
int request_raw(unsigned int command, uintptr_t arg);
/* Request @nr with this size at this address; what errno it may have is the caller's to judge. */
int request_sized(unsigned int nr, size_t size, uintptr_t arg);

/* ---- coverage.c: what the kernel ran in the calls ---- */

extern bool coverage_wanted;
void coverage_begin(void);	/* for this thread */
void coverage_on(void);
void coverage_off(void);
bool coverage_write(const char *path);

/* ---- fault.c: allocations that fail ---- */

extern bool faults_work;
void fault_probe(void);
void fault_begin(void);			/* for this thread */
void fault_arm(unsigned int nth);	/* the nth from now on fails */
bool fault_disarm(void);		/* whether it did */
bool fault_is_armed(void);

/* ---- snapshot.c: what /proc says of the tasks of this pid namespace ---- */

#define LEVELS		4

struct ids {
	int levels;			/* of pid namespaces, from ours inwards */
	pid_t pid[LEVELS], tgid[LEVELS], pgid[LEVELS], sid[LEVELS];
};

struct stat_line {
	pid_t pid;
	char comm[32];
	char state;
	pid_t ppid, pgid, sid;
	int tty;
	uint64_t minflt, cminflt, majflt, cmajflt;
	uint64_t utime, stime;
	int64_t cutime, cstime;
	uint64_t start;
};

struct task {
	pid_t tid, pid;
	struct stat_line stat;
};

struct snapshot {
	struct task task[1024];
	unsigned int count;
};

ssize_t read_file(const char *path, char *buf, size_t size);
bool stat_of(pid_t pid, struct stat_line *line);
bool ids_of(pid_t pid, struct ids *ids);
pid_t pid_of_pidfd(int pidfd);
void snapshot_take(struct snapshot *shot);
/* Says what every task does, for who has to find out why one hangs. */
void snapshot_say(void);

/* ---- oracle.c: what must be true ---- */

/*
 * Whether a number can be had by clone3() just now: 0, or its errno. Only PID
 * may still hold it for a moment, who has seen it end otherwise than by wait().
 */
int number_try(pid_t nr);
/* Nothing moves: all sides must agree. False if not, and said. */
bool oracle_frozen(const struct snapshot *shot);
/* Whether it would complain; for its own test. */
bool oracle_lied(const struct snapshot *shot);
/* Stops all but the caller, which must be PID 1 of the world, asks the oracle, and lets go. */
void oracle_freeze(void);
/* All but the caller are dead: all numbers are free. */
void oracle_empty(void);

/* ---- victim.c: processes that are traced ---- */

enum victim {
	VICTIM_IDLE, VICTIM_BUSY, VICTIM_FORKER, VICTIM_MOVER, VICTIM_EXEC,
	VICTIM_THREADS, VICTIM_THREAD_EXEC, VICTIM_TABLES, VICTIM_EXIT,
	VICTIM_DEAD_LEADER, VICTIM_TTY, VICTIM_SLEEPER, VICTIM_VFORK,
	VICTIM_STOPPED, VICTIM_IO_URING, VICTIM_TIMERS, VICTIMS,
};

void victim_run(enum victim kind) __attribute__((noreturn));
/* Of one that has only one thread, and does not change its own ids. */
bool victim_is_steady(enum victim kind);

/* ---- tracer.c: a process that traces victims and sends requests about them ---- */

struct tracing {
	unsigned int weight_ids;	/* SET_PID, SET_IDS */
	unsigned int weight_times;	/* SET_START, ADD_USAGE */
	unsigned int weight_read;	/* SIGACTIONS, THREAD, PROCESS */
	unsigned int weight_stop;	/* letting go, stopping, killing */
	unsigned int victims;		/* a mask of kinds */
	bool nested;			/* in namespaces below */
	bool dying;			/* whose inits are killed */
};

void tracer_run(const struct tracing *how) __attribute__((noreturn));
/* A number that others want too. */
pid_t contested(void);

/* ---- bystander.c: what goes on around ---- */

void bystander_moves(void) __attribute__((noreturn));
void bystander_forks(void) __attribute__((noreturn));
void bystander_reads(void) __attribute__((noreturn));
void bystander_kills(void) __attribute__((noreturn));
void bystander_terminals(void) __attribute__((noreturn));
void bystander_asks(void) __attribute__((noreturn));

/* ---- memory.c: places for a structure or a buffer ---- */

struct place {
	void *at;
	bool readable, writable;	/* all of it */
	bool nowhere;			/* nothing of it can be written */
	void *base;
	size_t mapped;
};

/* A place of @size bytes, aligned to @align, that may be bad in some way. */
struct place place_make(size_t size, size_t align);
void place_free(struct place *place);
/* A page whose first access is handled by a thread, in @mode; NULL if there is no userfaultfd. */
enum slow { SLOW_DELAY, SLOW_CHANGE, SLOW_NEVER };
struct slow_page;
struct slow_page *slow_page_make(enum slow mode, const void *content, size_t size, size_t offset);
void *slow_page_at(struct slow_page *page);
bool slow_page_was_hit(struct slow_page *page);
void slow_page_free(struct slow_page *page);

/* ---- world.c: the namespaces of a round ---- */

struct play {
	const char *name, *what;
	void (*start)(void);		/* in PID 1: forks who acts */
	unsigned int seconds;		/* and until there were some requests */
	unsigned int weight;
	int namespaces;			/* beside those of every world; CLONE_* */
	bool user;			/* may be in a user namespace */
	bool freezes;			/* the oracle looks at it while it lives */
	bool (*possible)(void);		/* on this machine; or NULL */
};

/* Forks a process of the play, which draws its own random numbers. */
pid_t role(void (*run)(void), unsigned int number);
/* One round; false if the machine is not to be trusted any more. */
bool world_run(const struct play *play, uint64_t seed);

/* ---- plays ---- */

extern const struct play plays[];
extern const unsigned int plays_count;
const struct play *play_find(const char *name);

void model_start(void);
void renumber_start(void);
void borders_start(void);
void faults_start(void);
void slow_start(void);
void sockets_start(void);
bool faults_possible(void);
bool slow_possible(void);

/* ---- selftest.c ---- */

int selftest(void);

/* ---- calls that the C library has not, or not so ---- */

struct fuzz_clone_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal;
	uint64_t stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static inline pid_t sys_clone3(struct fuzz_clone_args *args)
{
	return syscall(SYS_clone3, args, sizeof(*args));
}

static inline int sys_pidfd_open(pid_t pid, unsigned int flags)
{
	return syscall(SYS_pidfd_open, pid, flags);
}

static inline int sys_pidfd_send_signal(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0);
}

/* Without errno, which a process that shares our memory would share too. */
static inline long sys_raw_ioctl(int fd, unsigned long command, void *arg)
{
	long ret;

	asm volatile("syscall"
		     : "=a" (ret)
		     : "a" ((long)SYS_ioctl), "D" ((long)fd), "S" (command), "d" (arg)
		     : "rcx", "r11", "memory");
	return ret;
}

static inline pid_t sys_gettid(void)
{
	return syscall(SYS_gettid);
}

#endif
