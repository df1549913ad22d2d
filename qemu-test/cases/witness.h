/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * A program whose threads notice if anything was done to them: for cases that
 * ask what a dead tool leaves behind. It is a child of the case. What it sees
 * is in a file that both have mapped; it is asked through a named pipe.
 */
#ifndef WITNESS_H
#define WITNESS_H

#include "steps.h"

#include <pthread.h>
#include <sys/eventfd.h>

/* What a thread waits in, or does. */
enum witness_thread {
	IN_READ,	/* the main thread, for the case */
	COMPUTING,	/* and never in the kernel */
	IN_SIGSUSPEND,
	IN_PPOLL,	/* with a mask */
	IN_NANOSLEEP,
	IN_PAUSE,	/* is signalled while the tool is at work */
	IN_READ_ENDED,	/* likewise; the handler ends the call */
	IN_READ_AGAIN,	/* likewise; the call is begun again */
	WITNESS_THREADS,
};

struct witness {
	pid_t pid;
	volatile pid_t tid[WITNESS_THREADS];
	volatile uint64_t rounds;
	volatile int done, failures;
	/* Of the threads that are signalled, which have come back. */
	volatile int woken[WITNESS_THREADS];
};

static struct witness *witness;
static int witness_event[WITNESS_THREADS];
static __thread volatile sig_atomic_t handled;

static void note_signal(int signal)
{
	(void)signal;
	handled++;
}

static void witness_begins(enum witness_thread which)
{
	witness->tid[which] = syscall(SYS_gettid);
}

static bool blocked(int signal)
{
	sigset_t mask;

	must(!pthread_sigmask(SIG_SETMASK, NULL, &mask));
	return sigismember(&mask, signal) == 1;
}

static void *compute(void *arg)
{
	(void)arg;
	witness_begins(COMPUTING);
	while (!witness->done) {
		uint64_t a = 1, b = 0;
		double x = 1, y = 0;

		/* All in registers, flags and vector registers included. */
		for (int i = 1; i <= 1000; i++) {
			a = a * 6364136223846793005 + i;
			b += a >> 7;
			x = x * 0.5 + i;
			y += x;
		}
		check(a == 0x1198e2c20ed44845 && b == 0xe8be355ea92d9994, "computed %lx %lx", (long)a, (long)b);
		check(y == 999003, "computed %f", y);
		witness->rounds++;
	}
	return NULL;
}

static void *in_sigsuspend(void *arg)
{
	sigset_t set;

	(void)arg;
	must(!pthread_sigmask(SIG_SETMASK, NULL, &set));
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGINT);
	must(!pthread_sigmask(SIG_SETMASK, &set, NULL));
	sigdelset(&set, SIGUSR1);
	sigaddset(&set, SIGTERM);
	witness_begins(IN_SIGSUSPEND);
	check(sigsuspend(&set) == -1 && errno == EINTR, "sigsuspend: %s", strerror(errno));
	check(handled == 1, "sigsuspend: %d signals", (int)handled);
	check(blocked(SIGUSR1) && blocked(SIGINT) && !blocked(SIGTERM), "mask after sigsuspend");
	return NULL;
}

static void *in_ppoll(void *arg)
{
	struct pollfd p = { witness_event[IN_PPOLL], POLLIN, 0 };
	sigset_t set;

	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	witness_begins(IN_PPOLL);
	check(ppoll(&p, 1, NULL, &set) == 1, "ppoll: %s", strerror(errno));
	check(!blocked(SIGTERM), "mask after ppoll");
	return NULL;
}

static void *in_nanosleep(void *arg)
{
	struct timespec hour = { 3600, 0 };

	(void)arg;
	witness_begins(IN_NANOSLEEP);
	check(nanosleep(&hour, &hour) == -1 && errno == EINTR, "nanosleep: %s", strerror(errno));
	check(handled == 1 && hour.tv_sec > 3000, "nanosleep: %d signals", (int)handled);
	return NULL;
}

static void *in_pause(void *arg)
{
	(void)arg;
	witness_begins(IN_PAUSE);
	check(pause() == -1 && errno == EINTR, "pause: %s", strerror(errno));
	witness->woken[IN_PAUSE] = 1;
	check(handled == 1, "pause: %d signals", (int)handled);
	return NULL;
}

static void *in_read_ended(void *arg)
{
	uint64_t n;

	(void)arg;
	witness_begins(IN_READ_ENDED);
	check(read(witness_event[IN_READ_ENDED], &n, 8) == -1 && errno == EINTR, "read: %s", strerror(errno));
	witness->woken[IN_READ_ENDED] = 1;
	check(handled == 1, "read: %d signals", (int)handled);
	return NULL;
}

static void *in_read_again(void *arg)
{
	uint64_t n;

	(void)arg;
	witness_begins(IN_READ_AGAIN);
	check(read(witness_event[IN_READ_AGAIN], &n, 8) == 8 && n == 9, "read: %s", strerror(errno));
	check(handled == 1, "read: %d signals", (int)handled);
	return NULL;
}

static void witness_run(int ask)
{
	static void *(*const bodies[])(void *) = {
		NULL, compute, in_sigsuspend, in_ppoll, in_nanosleep, in_pause, in_read_ended, in_read_again,
	};
	struct sigaction ends = { .sa_handler = note_signal };
	struct sigaction begins_again = { .sa_handler = note_signal, .sa_flags = SA_RESTART };
	pthread_t threads[WITNESS_THREADS];
	uint64_t rounds, nine = 9;
	char c;

	must(!sigaction(SIGUSR1, &begins_again, NULL) && !sigaction(SIGHUP, &begins_again, NULL));
	must(!sigaction(SIGUSR2, &ends, NULL));
	for (int i = 1; i < WITNESS_THREADS; i++) {
		must((witness_event[i] = eventfd(0, 0)) >= 0);
		must(!pthread_create(&threads[i], NULL, bodies[i], NULL));
	}
	witness_begins(IN_READ);
	check(read(ask, &c, 1) == 1, "the question: %s", strerror(errno));
	rounds = witness->rounds;
	must(!pthread_kill(threads[IN_SIGSUSPEND], SIGUSR1));
	must(!pthread_kill(threads[IN_NANOSLEEP], SIGUSR2));
	must(write(witness_event[IN_PPOLL], &nine, 8) == 8);
	must(write(witness_event[IN_READ_AGAIN], &nine, 8) == 8);
	while (witness->rounds == rounds)
		pause_ms(1);
	for (int i = IN_SIGSUSPEND; i < WITNESS_THREADS; i++)
		must(!pthread_join(threads[i], NULL));
	witness->failures = case_failures;
	witness->done = 1;
	must(!pthread_join(threads[COMPUTING], NULL));
	_exit(case_failures);
}

/* Whether a thread sleeps; the one that computes never does. */
static bool witness_waits(enum witness_thread which)
{
	if (!witness->tid[which])
		return false;
	if (which == COMPUTING)
		return witness->rounds > 0;
	return state_of(witness->pid, witness->tid[which]) == 'S';
}

static int witness_ask;

/* Starts a witness, and waits until all its threads are where they should be. */
static void witness_start(void)
{
	pid_t pid;

	witness = map_in_case("witness", sizeof(*witness));
	witness_ask = open_pipe("ask", true);
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		setsid();
		case_failures = 0;
		close(witness_ask);
		witness_run(open_pipe("ask", false));
	}
	witness->pid = pid;
	for (int i = 0; i < WITNESS_THREADS; i++)
		while (!witness_waits(i))
			pause_ms(1);
}

/* What a process has that a tool could leave changed. */
struct witness_looks {
	long size, threads, blocked, tracer, children;
};

static struct witness_looks witness_looks(void)
{
	struct witness_looks looks = {
		.size = status_of(witness->pid, "VmSize"),
		.threads = status_of(witness->pid, "Threads"),
		.blocked = status_of(witness->pid, "SigBlk"),
		.tracer = status_of(witness->pid, "TracerPid"),
	};
	char path[64], c;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", witness->pid, witness->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0);
	looks.children = read(fd, &c, 1) == 1;
	close(fd);
	return looks;
}

/*
 * Signals the threads that want to be signalled while the tool is at work. They
 * must sleep or be stopped: for a thread that has just been let go, the kernel
 * begins the call again, and the handler could run before that.
 */
static void witness_disturb(void)
{
	for (int i = IN_PAUSE; i < WITNESS_THREADS; i++)
		while (!strchr("St", state_of(witness->pid, witness->tid[i])))
			pause_ms(1);
	syscall(SYS_tgkill, witness->pid, witness->tid[IN_PAUSE], SIGUSR2);
	syscall(SYS_tgkill, witness->pid, witness->tid[IN_READ_ENDED], SIGUSR2);
	syscall(SYS_tgkill, witness->pid, witness->tid[IN_READ_AGAIN], SIGHUP);
}

/* Asks the witness, which has been disturbed. `when` says what was done to it. */
static void witness_testifies(const char *when, struct witness_looks before)
{
	struct witness_looks after;

	check(within_patience(witness->woken[IN_PAUSE]), "%s: pause did not end", when);
	check(within_patience(witness->woken[IN_READ_ENDED]), "%s: read did not end", when);
	/* These two threads have ended. */
	before.threads -= 2;
	check(within_patience((after = witness_looks(), !memcmp(&before, &after, sizeof(after)))),
	      "%s: %ld kB, %ld threads, blocked %lx, tracer %ld, children: %ld; before: %ld kB", when,
	      after.size, after.threads, after.blocked, after.tracer, after.children, before.size);
	must(write(witness_ask, "?", 1) == 1);
	check(within_patience(witness->done), "%s: the program does not run", when);
	check(!witness->failures, "%s", when);
}

static void witness_end(void)
{
	kill(witness->pid, SIGKILL);
	while (waitpid(witness->pid, NULL, 0) < 0 && errno == EINTR)
		;
	munmap(witness, sizeof(*witness));
	close(witness_ask);
}

#endif
