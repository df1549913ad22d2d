/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <poll.h>
#include <sys/epoll.h>

CASE(.what = "pidfds stay with their processes: a child, a zombie, the process itself");

#define PIDFD_THREAD_FLAG O_EXCL

static int open_pidfd(pid_t pid, unsigned int flags)
{
	int fd = syscall(SYS_pidfd_open, pid, flags);

	must(fd >= 0);
	return fd;
}

static bool has_ended(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 1 && poll_fd.revents & POLLIN;
}

static void run(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll, child_fd, kept_fd, zombie_fd, self_fd, thread_fd;
	pid_t child = fork(), zombie, self = getpid();
	siginfo_t info = { 0 };

	must(child >= 0);
	if (!child)
		for (;;)
			pause();
	zombie = fork();
	must(zombie >= 0);
	if (!zombie)
		_exit(7);
	must(waitid(P_PID, zombie, &info, WEXITED | WNOWAIT) == 0);
	child_fd = open_pidfd(child, 0);
	zombie_fd = open_pidfd(zombie, O_NONBLOCK);
	self_fd = open_pidfd(self, 0);
	/* One that survives execve, at a number of its own. */
	kept_fd = fcntl(child_fd, F_DUPFD, 100);
	must(kept_fd == 100);
	/* Kernels before 6.9 do not know the flag. */
	thread_fd = syscall(SYS_pidfd_open, self, PIDFD_THREAD_FLAG);
	epoll = epoll_create1(0);
	event.data.fd = child_fd;
	must(epoll_ctl(epoll, EPOLL_CTL_ADD, child_fd, &event) == 0);

	ready();
	check(fcntl(child_fd, F_GETFD) == FD_CLOEXEC && fcntl(kept_fd, F_GETFD) == 0, "close on exec");
	check(fcntl(zombie_fd, F_GETFL) & O_NONBLOCK, "flags %#o", fcntl(zombie_fd, F_GETFL));
	check(thread_fd < 0 || fcntl(thread_fd, F_GETFL) & PIDFD_THREAD_FLAG, "flags %#o", fcntl(thread_fd, F_GETFL));
	check(has_ended(zombie_fd) && !has_ended(child_fd) && !has_ended(self_fd), "who has ended");
	check(waitid(P_PIDFD, zombie_fd, &info, WEXITED) == 0 && info.si_pid == zombie && info.si_status == 7,
	      "the zombie is %d, with status %d", info.si_pid, info.si_status);
	check(syscall(SYS_pidfd_send_signal, self_fd, 0, NULL, 0) == 0, "itself: %s", strerror(errno));
	check(epoll_wait(epoll, &event, 1, 0) == 0, "an event of a child that lives");
	check(syscall(SYS_pidfd_send_signal, kept_fd, SIGKILL, NULL, 0) == 0, "kill: %s", strerror(errno));
	check(epoll_wait(epoll, &event, 1, PATIENCE_MS) == 1 && event.data.fd == child_fd, "no event of the end");
	check(waitid(P_PIDFD, child_fd, &info, WEXITED) == 0 && info.si_pid == child, "waited for %d", info.si_pid);
}
