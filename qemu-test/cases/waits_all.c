/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "clock.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

CASE(.what = "calls that wait for something, or until a moment, get it and no EINTR");

/* Each thread waits in one call. Those until a moment end then, and the others are woken. */
#define WAIT(name) static void *name(void *arg)
#define woken(condition) check(condition, "%s: %s", __func__, strerror(errno)); return arg

static int64_t moment;
static uint32_t never, woken_word, pi_word, other_pi_word;
static int ends[2], event, timer, signals, pair[2], epoll, locked;
static char fifo[PATH_MAX];
static pid_t sleeping_child;

static struct timespec at(clockid_t clock)
{
	int64_t t = clock_now(clock) - clock_now(CLOCK_MONOTONIC) + moment;

	return (struct timespec){ t / SECOND, t % SECOND };
}

static bool passed(clockid_t clock, struct timespec t)
{
	return clock_now(clock) >= t.tv_sec * SECOND + t.tv_nsec;
}

static bool sleeps(clockid_t clock)
{
	struct timespec t = at(clock);
	int error = clock_nanosleep(clock, TIMER_ABSTIME, &t, NULL);

	errno = error;
	return !error && passed(clock, t);
}

WAIT(sleep_realtime)
{
	woken(sleeps(CLOCK_REALTIME));
}

WAIT(sleep_monotonic)
{
	woken(sleeps(CLOCK_MONOTONIC));
}

WAIT(sleep_boottime)
{
	woken(sleeps(CLOCK_BOOTTIME));
}

WAIT(sleep_tai)
{
	woken(sleeps(CLOCK_TAI));
}

WAIT(futex_until)
{
	struct timespec t = at(CLOCK_MONOTONIC);
	long n = syscall(SYS_futex, &never, FUTEX_WAIT_BITSET_PRIVATE, 0, &t, NULL, FUTEX_BITSET_MATCH_ANY);

	woken(n == -1 && errno == ETIMEDOUT && passed(CLOCK_MONOTONIC, t));
}

WAIT(futex_until_day)
{
	struct timespec t = at(CLOCK_REALTIME);
	long n = syscall(SYS_futex, &never, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &t, NULL,
			 FUTEX_BITSET_MATCH_ANY);

	woken(n == -1 && errno == ETIMEDOUT && passed(CLOCK_REALTIME, t));
}

WAIT(futex_waitv_until)
{
	struct futex_waitv waiters[2] = {
		{ 0, (uintptr_t)&never, FUTEX_32 | FUTEX_PRIVATE_FLAG, 0 },
		{ 0, (uintptr_t)&never, FUTEX_32 | FUTEX_PRIVATE_FLAG, 0 },
	};
	struct timespec t = at(CLOCK_MONOTONIC);
	long n = syscall(SYS_futex_waitv, waiters, 2, 0, &t, CLOCK_MONOTONIC);

	woken(n == -1 && errno == ETIMEDOUT && passed(CLOCK_MONOTONIC, t));
}

WAIT(futex_waitv_woken)
{
	struct futex_waitv waiters[2] = {
		{ 0, (uintptr_t)&never, FUTEX_32 | FUTEX_PRIVATE_FLAG, 0 },
		{ 0, (uintptr_t)&woken_word, FUTEX_32 | FUTEX_PRIVATE_FLAG, 0 },
	};

	woken(syscall(SYS_futex_waitv, waiters, 2, 0, NULL, 0) == 1);
}

WAIT(lock_pi_until)
{
	struct timespec t = at(CLOCK_REALTIME);
	long n = syscall(SYS_futex, &pi_word, FUTEX_LOCK_PI_PRIVATE, 0, &t);

	woken(n == -1 && errno == ETIMEDOUT && passed(CLOCK_REALTIME, t));
}

WAIT(lock_pi2_until)
{
	struct timespec t = at(CLOCK_MONOTONIC);
	long n = syscall(SYS_futex, &pi_word, FUTEX_LOCK_PI2 | FUTEX_PRIVATE_FLAG, 0, &t);

	woken(n == -1 && errno == ETIMEDOUT && passed(CLOCK_MONOTONIC, t));
}

WAIT(lock_pi)
{
	long n = syscall(SYS_futex, &other_pi_word, FUTEX_LOCK_PI_PRIVATE, 0, NULL);

	woken(n == 0 && (other_pi_word & FUTEX_TID_MASK) == (uint32_t)gettid());
}

WAIT(read_pipe)
{
	char c;

	woken(read(ends[0], &c, 1) == 1);
}

WAIT(read_event)
{
	uint64_t n;

	woken(read(event, &n, 8) == 8 && n == 3);
}

WAIT(read_timer)
{
	uint64_t n;

	woken(read(timer, &n, 8) == 8 && n == 1);
}

WAIT(read_signal)
{
	struct signalfd_siginfo info;

	woken(read(signals, &info, sizeof(info)) == sizeof(info) && info.ssi_signo == SIGUSR2);
}

WAIT(receive)
{
	char c;

	woken(recv(pair[0], &c, 1, 0) == 1);
}

WAIT(wait_epoll)
{
	struct epoll_event e;

	woken(epoll_wait(epoll, &e, 1, -1) == 1);
}

WAIT(wait_select)
{
	/* The kernel counts down what it is given. */
	struct timeval limit = { 0, 700000 };

	woken(select(0, NULL, NULL, NULL, &limit) == 0 && !limit.tv_sec && !limit.tv_usec);
}

WAIT(open_fifo)
{
	int fd = open(fifo, O_RDONLY);

	woken(fd >= 0);
}

WAIT(lock_file)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/lock", case_dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	must(fd >= 0);
	woken(!flock(fd, LOCK_EX));
}

WAIT(wait_child)
{
	int status;

	woken(waitpid(sleeping_child, &status, 0) == sleeping_child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

WAIT(wait_any)
{
	siginfo_t info;

	woken(!waitid(P_PID, sleeping_child, &info, WEXITED | WNOWAIT) && info.si_status == 7);
}

static void *(*const waits[])(void *) = {
	sleep_realtime, sleep_monotonic, sleep_boottime, sleep_tai, futex_until, futex_until_day, futex_waitv_until,
	futex_waitv_woken, lock_pi_until, lock_pi2_until, lock_pi, read_pipe, read_event, read_timer, read_signal,
	receive, wait_epoll, wait_select, open_fifo, lock_file, wait_any,
};
enum { WAITS = sizeof(waits) / sizeof(waits[0]) };

static void run(void)
{
	struct epoll_event wanted = { .events = EPOLLIN };
	struct itimerspec times = { 0 };
	pthread_t threads[WAITS];
	char path[PATH_MAX];
	uint64_t three = 3;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	must(!sigprocmask(SIG_BLOCK, &set, NULL));
	must(!pipe(ends) && !socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	event = eventfd(0, 0);
	timer = timerfd_create(CLOCK_MONOTONIC, 0);
	signals = signalfd(-1, &set, 0);
	epoll = epoll_create1(0);
	must(event >= 0 && timer >= 0 && signals >= 0 && epoll >= 0);
	must(!epoll_ctl(epoll, EPOLL_CTL_ADD, pair[1], &wanted));
	snprintf(fifo, sizeof(fifo), "%s/fifo", case_dir);
	must(!mkfifo(fifo, 0600) || errno == EEXIST);
	snprintf(path, sizeof(path), "%s/lock", case_dir);
	locked = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(locked >= 0 && !flock(locked, LOCK_EX));
	pi_word = other_pi_word = gettid();
	must((sleeping_child = fork()) >= 0);
	if (!sleeping_child) {
		await_file("go");
		_exit(7);
	}
	moment = clock_now(CLOCK_MONOTONIC) + 700 * 1000000;
	times.it_value = at(CLOCK_MONOTONIC);
	must(!timerfd_settime(timer, TFD_TIMER_ABSTIME, &times, NULL));
	for (int i = 0; i < WAITS; i++)
		must(!pthread_create(&threads[i], NULL, waits[i], NULL));
	await_threads_in(SYS_clock_nanosleep, SYS_futex, SYS_futex_waitv, SYS_read, SYS_recvfrom, SYS_epoll_wait,
			 SYS_select, SYS_pselect6, SYS_open, SYS_openat, SYS_flock, SYS_wait4, SYS_waitid);
	ready();
	/* The threads may be on their way into the kernel: they must be in there to be woken. */
	while (syscall(SYS_futex, &woken_word, FUTEX_WAKE_PRIVATE, 1) != 1)
		pause_ms(1);
	must(!syscall(SYS_futex, &other_pi_word, FUTEX_UNLOCK_PI_PRIVATE, 0));
	must(write(ends[1], "x", 1) == 1 && write(event, &three, 8) == 8);
	must(send(pair[1], "x", 1, 0) == 1 && send(pair[0], "x", 1, 0) == 1);
	must(!kill(getpid(), SIGUSR2));
	must(!flock(locked, LOCK_UN));
	must(open(fifo, O_WRONLY) >= 0);
	for (int i = 0; i < WAITS; i++)
		must(!pthread_join(threads[i], NULL));
	wait_child(NULL);
}
