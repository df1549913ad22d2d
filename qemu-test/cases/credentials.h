/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* All that a thread can see of its own credentials. */
#ifndef CREDENTIALS_H
#define CREDENTIALS_H

#include "case.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>

struct ids {
	uid_t ruid, euid, suid, fsuid;
	gid_t rgid, egid, sgid, fsgid, groups[8];
	int count, securebits, no_new_privs, dumpable, death;
	struct __user_cap_data_struct caps[2];
	uint64_t bounding, ambient;
};

/* With at most eight groups. */
static inline struct ids credentials(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct ids ids = { 0 };

	must(!getresuid(&ids.ruid, &ids.euid, &ids.suid));
	must(!getresgid(&ids.rgid, &ids.egid, &ids.sgid));
	ids.fsuid = setfsuid(-1);
	ids.fsgid = setfsgid(-1);
	ids.count = getgroups(8, ids.groups);
	must(!syscall(SYS_capget, &header, ids.caps));
	for (int cap = 0; cap < 64; cap++) {
		if (prctl(PR_CAPBSET_READ, cap) == 1)
			ids.bounding |= 1ull << cap;
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1)
			ids.ambient |= 1ull << cap;
	}
	ids.securebits = prctl(PR_GET_SECUREBITS);
	ids.no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	ids.dumpable = prctl(PR_GET_DUMPABLE);
	must(!prctl(PR_GET_PDEATHSIG, &ids.death));
	return ids;
}

static inline void same(const char *who, struct ids *was, struct ids *is)
{
	check(was->ruid == is->ruid && was->euid == is->euid && was->suid == is->suid &&
	      was->fsuid == is->fsuid, "%s: uids %u %u %u %u", who, is->ruid, is->euid, is->suid, is->fsuid);
	check(was->rgid == is->rgid && was->egid == is->egid && was->sgid == is->sgid &&
	      was->fsgid == is->fsgid, "%s: gids %u %u %u %u", who, is->rgid, is->egid, is->sgid, is->fsgid);
	check(was->count == is->count && !memcmp(was->groups, is->groups, sizeof(is->groups)),
	      "%s: %d groups", who, is->count);
	check(!memcmp(was->caps, is->caps, sizeof(is->caps)), "%s: effective %x, permitted %x, inheritable %x",
	      who, is->caps[0].effective, is->caps[0].permitted, is->caps[0].inheritable);
	check(was->bounding == is->bounding, "%s: bounding %lx, was %lx", who, is->bounding, was->bounding);
	check(was->ambient == is->ambient, "%s: ambient %lx", who, is->ambient);
	check(was->securebits == is->securebits, "%s: securebits %x", who, is->securebits);
	check(was->no_new_privs == is->no_new_privs, "%s: no_new_privs %d", who, is->no_new_privs);
	check(was->dumpable == is->dumpable, "%s: dumpable %d, was %d", who, is->dumpable, was->dumpable);
	check(was->death == is->death, "%s: parent death signal %d", who, is->death);
}

static inline void set_caps(uint32_t effective, uint32_t permitted, uint32_t inheritable)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { effective, permitted, inheritable }, { 0, 0, 0 } };

	must(!syscall(SYS_capset, &header, data));
}

static int child_is_up[2], child_may_go[2];

/* ready(), of a child that may not reach the directory of the case any more. */
static inline void ready_in_child(void)
{
	char byte;

	must(write(child_is_up[1], "u", 1) == 1);
	must(read(child_may_go[0], &byte, 1) == 1);
}

/* Runs this in a child, which calls ready_in_child() and ends with its failures. */
static inline void run_in_child(void (*child)(void))
{
	int status;
	char byte;
	pid_t pid;

	must(!pipe(child_is_up) && !pipe(child_may_go));
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		child();
		_exit(case_failures ? 1 : 0);
	}
	must(read(child_is_up[0], &byte, 1) == 1);
	ready();
	must(write(child_may_go[1], "g", 1) == 1);
	check(waitpid(pid, &status, 0) == pid && !status, "child: %#x", status);
}

#endif
