/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

/* The main thread of the child has ended by itself; the others go on. */
CASE(.what = "a process whose main thread has ended goes on, and can be waited for when it ends");

static int ends[2];
static __thread int local = 3;

static void *body(void *arg)
{
	char name[32] = "", c;
	pid_t tid = syscall(SYS_gettid), pid, orphan;
	int fd, status;

	/* A child of the main thread becomes one of another thread. */
	must(read(ends[0], &orphan, sizeof(orphan)) == sizeof(orphan));
	while (state_of(getpid(), getpid()) != 'Z')
		pause_ms(1);
	local = 4;
	leave_file("set");
	await_file("go");
	check(syscall(SYS_gettid) == tid && tid != getpid(), "thread id %ld was %d", syscall(SYS_gettid), tid);
	check(local == 4, "its local is %d", local);
	check(state_of(getpid(), getpid()) == 'Z', "the main thread is in state %c", state_of(getpid(), getpid()));
	must((fd = open("/proc/self/comm", O_RDONLY)) >= 0);
	must(read(fd, name, sizeof(name) - 1) > 0);
	close(fd);
	check(!strcmp(name, "main one\n"), "the main thread is called %s", name);
	must(!prctl(PR_GET_NAME, name));
	check(!strcmp(name, "other one"), "the thread is called %s", name);
	must(write(ends[1], "x", 1) == 1);
	check(read(ends[0], &c, 1) == 1 && c == 'x', "its descriptors");
	check(waitpid(orphan, &status, 0) == orphan && WEXITSTATUS(status) == 9, "its child: %x", status);
	must((pid = fork()) >= 0);
	if (!pid)
		_exit(8);
	check(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 8, "a new child: %x", status);
	if (case_failures)
		_exit(1);
	/* Since Linux 5.18 the last one that ends decides what the parent hears. */
	syscall(SYS_exit, 5);
	return arg;
}

static void run(void)
{
	pid_t child, orphan;
	pthread_t thread;
	int status;

	must((child = fork()) >= 0);
	if (!child) {
		must(!pipe(ends));
		must(!prctl(PR_SET_NAME, "other one"));
		must(!pthread_create(&thread, NULL, body, NULL));
		must(!prctl(PR_SET_NAME, "main one"));
		must((orphan = fork()) >= 0);
		if (!orphan) {
			await_file("go");
			_exit(9);
		}
		must(write(ends[1], &orphan, sizeof(orphan)) == sizeof(orphan));
		/* Not exit_group, which would end all. */
		syscall(SYS_exit, 7);
	}
	await_file("set");
	ready();
	check(waitpid(child, &status, 0) == child, "it is not there: %s", strerror(errno));
	check(WIFEXITED(status) && WEXITSTATUS(status) == 5, "status %x", status);
}
