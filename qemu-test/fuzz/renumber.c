// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * A play about one number: a victim is given it and another one to and fro,
 * while others look it up in all ways and make processes of that number. Who
 * looks must never take one process for the other for longer than a moment.
 */
#include <dirent.h>

#include "fuzz.h"

static void renumbers(void)
{
	pid_t a = shared->first, b = shared->first + 1;
	struct ckpt_set_pid arg = { .count = 1 };
	int status;
	pid_t pid;

	/* It is stopped perhaps before it does anything. */
	prctl(PR_SET_NAME, "victim");
	pid = fork();
	if (!pid)
		victim_run(VICTIM_IDLE);
	prctl(PR_SET_NAME, "role");
	arg.pidfd = sys_pidfd_open(pid, 0);
	if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_EXITKILL) ||
	    ptrace(PTRACE_INTERRUPT, pid, 0, 0) || waitpid(pid, &status, __WALL) != pid) {
		failure("no victim: %s", strerror(errno));
		return;
	}
	for (bool to_b = false; going(); to_b = !to_b) {
		struct stat_line line;
		pid_t old = pid;

		arg.nr[0] = to_b ? b : a;
		if (request_plain(CKPT_NR_SET_PID, &arg))
			continue;
		pid = arg.nr[0];
		if (pid_of_pidfd(arg.pidfd) != pid)
			failure("the pidfd of %d is one of %d", pid, pid_of_pidfd(arg.pidfd));
		if (!stat_of(pid, &line) || line.pid != pid || strcmp(line.comm, "victim"))
			failure("/proc/%d/stat of a victim says %d (%s)", pid, line.pid, line.comm);
		if (kill(pid, 0) || getpgid(pid) < 0)
			failure("%d, which was %d, is not found: %s", pid, old, strerror(errno));
		/* The old name may be that of somebody else by now, but not of this one. */
		if (old != pid && stat_of(old, &line) && !strcmp(line.comm, "victim"))
			failure("/proc/%d still leads to the victim, which is %d", old, line.pid);
		atomic_fetch_add(&shared->checks, 1);
	}
	/* The parent waits for the number that its child has now. */
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, __WALL) != pid)
		failure("waitpid(%d) of a renumbered child: %s", pid, strerror(errno));
}

static void looks(void)
{
	pid_t a = shared->first;

	while (going()) {
		char path[64], buf[1024];
		struct stat file;
		int directory, fd;

		snprintf(path, sizeof(path), "/proc/%d", a + (int)below(2));
		stat(path, &file);
		directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (directory < 0)
			continue;
		for (unsigned int i = 0; i < 3; i++) {
			fd = openat(directory, PICK("stat", "status", "task", "ns/pid", "fd"),
				    O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				continue;
			if (read(fd, buf, sizeof(buf)) < 0)
				sched_yield();
			close(fd);
		}
		close(directory);
	}
}

static void lists(void)
{
	while (going()) {
		DIR *dir = opendir("/proc");
		struct dirent *entry;
		unsigned int entries = 0;

		while (dir && (entry = readdir(dir)))
			if (++entries > 100000) {
				failure("/proc has no end");
				break;
			}
		if (dir)
			closedir(dir);
	}
}

static void opens_pidfds(void)
{
	while (going()) {
		pid_t nr = shared->first + below(2), pid;
		int fd = sys_pidfd_open(nr, 0);

		if (fd < 0)
			continue;
		pid = pid_of_pidfd(fd);
		if (pid != nr && pid != shared->first && pid != shared->first + 1 && pid != -1)
			failure("a pidfd of %d is one of %d", nr, pid);
		sys_pidfd_send_signal(fd, 0);
		close(fd);
		kill(nr, 0);
		getpgid(nr);
	}
}

void renumber_start(void)
{
	shared->first = 310;
	shared->span = 2;
	role(renumbers, 10);
	role(bystander_forks, 20);
	for (unsigned int i = 0; i < 4; i++)
		role(looks, 30 + i);
	role(lists, 40);
	role(opens_pidfds, 41);
	if (chance(50))
		role(bystander_reads, 42);
}
