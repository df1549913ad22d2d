/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* A tool that is killed at one of its steps. */
#ifndef STEPS_H
#define STEPS_H

#include "tool.h"

#include <sys/ptrace.h>

/* Whether a step of the tool can make a difference to the program. */
static bool is_step(uint64_t nr)
{
	return nr == SYS_ptrace || nr == SYS_wait4 || nr == SYS_pwrite64 || nr == SYS_process_vm_writev ||
	       nr == SYS_pidfd_send_signal;
}

/* The step at which the tool was killed; how many it made. */
static char killed_at[64];
static int steps_made;

/*
 * Runs the tool and kills it at its step number `at`: before it for an even
 * number, behind it for an odd one. `disturb` is called before it. Returns whether the tool came to that step; if not,
 * *end is how it ended.
 */
static inline bool tool_killed_at(int at, void (*disturb)(void), int *end, const char *const *arguments)
{
	const char *argv[32] = { getenv("CRUST") };
	char said[PATH_MAX];
	int status;
	bool in_step = false;
	pid_t pid;

	steps_made = 0;
	for (int i = 0; arguments[i]; i++)
		argv[i + 1] = arguments[i];
	snprintf(said, sizeof(said), "%s/said", case_dir);
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		int fd = open(said, O_WRONLY | O_CREAT | O_TRUNC, 0600);

		dup2(fd, 1);
		dup2(fd, 2);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		execv(argv[0], (char **)argv);
		_exit(127);
	}
	must(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	must(!ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
	for (;;) {
		struct __ptrace_syscall_info info;
		bool stop = WSTOPSIG(status) == (SIGTRAP | 0x80);

		if (stop) {
			must(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0);
			if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
				in_step = is_step(info.entry.nr);
				if (in_step && steps_made == at / 2 * 2) {
					snprintf(killed_at, sizeof(killed_at), "step %d, call %d of %#llx", at,
						 (int)info.entry.nr, (long long)info.entry.args[0]);
					disturb();
				}
			}
			if (in_step && steps_made++ == at) {
				kill(pid, SIGKILL);
				must(waitpid(pid, &status, 0) == pid);
				return true;
			}
		}
		must(!ptrace(PTRACE_SYSCALL, pid, NULL, stop || WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status)));
		must(waitpid(pid, &status, 0) == pid);
		if (!WIFSTOPPED(status)) {
			*end = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
			return false;
		}
	}
}

/*
 * The step behind `at` at which it is killed next: of the thousand there may
 * be, a few dozen are enough, others each time. Before and behind take turns.
 */
static inline int step_after(int at, int all)
{
	int stride = all / 40 | 1;

	return at < 0 ? getpid() % stride : at + stride;
}

#endif
