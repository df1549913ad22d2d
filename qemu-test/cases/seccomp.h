/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Filters of system calls, for cases. */
#ifndef SECCOMP_H
#define SECCOMP_H

#include "case.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

/* Makes a filter with `listed` as the verdict on the calls in a list that ends with -1, and `others` on others. */
static inline int filter_calls(unsigned int flags, const int *calls, uint32_t listed, uint32_t others)
{
	struct sock_filter code[128];
	struct sock_fprog program = { 0, code };

	code[program.len++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (; *calls >= 0; calls++) {
		code[program.len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, *calls, 0, 1);
		code[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, listed);
	}
	code[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, others);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* Has one call fail with an error number. */
static inline int deny(unsigned int flags, int call, int error)
{
	return filter_calls(flags, (const int[]){ call, -1 }, SECCOMP_RET_ERRNO | error, SECCOMP_RET_ALLOW);
}

/* The error number with which a call without arguments fails; 0 if it does not. */
static inline int error_of(int call)
{
	return syscall(call, 0, 0, 0, 0, 0, 0) < 0 ? errno : 0;
}

/* What a case needs between ready() and its end. What crust has a program do for it is not among these. */
static const int calls_of_a_case[] = {
	SYS_openat, SYS_close, SYS_access, SYS_faccessat, SYS_clock_nanosleep, SYS_restart_syscall, SYS_read,
	SYS_write, SYS_exit, SYS_exit_group, -1,
};

/* Any other call is the end of the process. */
static inline int filter_all_but_those_of_a_case(unsigned int flags)
{
	return filter_calls(flags, calls_of_a_case, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS);
}

/* A line of /proc/self/task/TID/status as a number. */
static inline long status_number(pid_t tid, const char *key)
{
	char path[64], text[8192], *line;
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	must(n > 0);
	close(fd);
	text[n] = 0;
	line = strstr(text, key);
	return line ? strtol(line + strlen(key) + 1, NULL, 0) : -1;
}

#endif
