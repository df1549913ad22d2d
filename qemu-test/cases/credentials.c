/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "credentials.h"

CASE(.what = "user and group ids, groups, capabilities, securebits and no_new_privs are kept");

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
	was = credentials();
	must(write(up[1], "u", 1) == 1);
	must(read(go[0], &byte, 1) == 1);
	is = credentials();
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
