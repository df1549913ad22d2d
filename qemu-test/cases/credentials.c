/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>

CASE(.what = "user and group ids, groups, capabilities, securebits and no_new_privs are kept");

struct ids {
	uid_t ruid, euid, suid, fsuid;
	gid_t rgid, egid, sgid, fsgid, groups[8];
	int count, securebits, no_new_privs, dumpable, death;
	struct __user_cap_data_struct caps[2];
	uint64_t bounding, ambient;
};

static struct ids who(void)
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

static void same(const char *who, struct ids *was, struct ids *is)
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

static void set_caps(uint32_t effective, uint32_t permitted, uint32_t inheritable)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { effective, permitted, inheritable }, { 0, 0, 0 } };

	must(!syscall(SYS_capset, &header, data));
}

/* An unprivileged user with a few capabilities of each kind. */
static void ordinary_user(void)
{
	gid_t groups[] = { 4, 24, 1000 };
	const uint32_t net = 1 << CAP_NET_RAW, bind = 1 << CAP_NET_BIND_SERVICE;

	must(!setgroups(3, groups));
	must(!prctl(PR_CAPBSET_DROP, CAP_SYS_MODULE));
	must(!prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT));
	must(!prctl(PR_SET_KEEPCAPS, 1));
	must(!setresgid(1000, 1000, 1000));
	must(!setresuid(1000, 1000, 1000));
	set_caps(net, net | bind, bind);
	must(!prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0));
	must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	must(!prctl(PR_SET_PDEATHSIG, SIGHUP));
	must(!prctl(PR_SET_DUMPABLE, 1));
}

/* All ids differ, like those of a server in the middle of acting for somebody. */
static void four_ids(void)
{
	must(!setgroups(0, NULL));
	must(!prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED));
	must(!setresgid(101, 102, 103));
	setfsgid(104);
	must(!setresuid(0, 202, 203));
	setfsuid(204);
	must(!prctl(PR_SET_DUMPABLE, 0));
}

/* Over pipes: the child may not be able to look into the directory of the case. */
static int up[2], go[2];

static void child(const char *name, void (*become)(void))
{
	struct ids was, is;
	pid_t pid = fork();
	char byte;

	must(pid >= 0);
	if (pid) {
		must(read(up[0], &byte, 1) == 1);
		return;
	}
	become();
	was = who();
	must(write(up[1], "u", 1) == 1);
	must(read(go[0], &byte, 1) == 1);
	is = who();
	same(name, &was, &is);
	_exit(case_failures ? 1 : 0);
}

static void run(void)
{
	int status;

	must(!pipe(up) && !pipe(go));
	child("user", ordinary_user);
	child("ids", four_ids);
	ready();
	must(write(go[1], "gg", 2) == 2);
	for (int i = 0; i < 2; i++) {
		pid_t pid = wait(&status);

		check(pid > 0 && status == 0, "status %x", status);
	}
}
