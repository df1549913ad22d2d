/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

/* At its end the machine is as before, so another restore would not find what it needs. */
CASE(.what = "whether a program may dump core is kept: yes, no, and for root alone (fs.suid_dumpable)", .once = true);

static int up[2], go[2];

static int suid_dumpable(int value)
{
	char text[4] = { 0 };
	int fd = open("/proc/sys/fs/suid_dumpable", O_RDWR | O_CLOEXEC);

	must(fd >= 0 && read(fd, text, 3) > 0);
	if (value != atoi(text)) {
		snprintf(text, sizeof(text), "%d", value);
		must(pwrite(fd, text, 1, 0) == 1);
	}
	close(fd);
	return atoi(text);
}

static void child(int dumpable, uid_t uid)
{
	char byte;
	pid_t pid = fork();

	must(pid >= 0);
	if (pid) {
		must(read(up[0], &byte, 1) == 1);
		return;
	}
	/* This gives it 2, since that is what the machine says. */
	must(!setresuid(7, 7, 7 * !!uid));
	if (!uid)
		must(!setresuid(0, 0, 0));
	must(prctl(PR_GET_DUMPABLE) == 2);
	if (dumpable != 2)
		must(!prctl(PR_SET_DUMPABLE, dumpable));
	must(write(up[1], "u", 1) == 1);
	must(read(go[0], &byte, 1) == 1);
	check(prctl(PR_GET_DUMPABLE) == dumpable, "dumpable is %d, was %d", prctl(PR_GET_DUMPABLE), dumpable);
	_exit(case_failures ? 1 : 0);
}

static void run(void)
{
	int status;

	/* Not where others work. */
	if (access("/dev/ckpt", F_OK))
		skip("it would change fs.suid_dumpable of this machine");
	suid_dumpable(2);
	must(!pipe(up) && !pipe(go));
	for (int dumpable = 0; dumpable < 3; dumpable++) {
		child(dumpable, 0);
		child(dumpable, 7);
	}
	ready();
	must(write(go[1], "gggggg", 6) == 6);
	for (int i = 0; i < 6; i++)
		check(wait(&status) > 0 && !status, "child: %#x", status);
	suid_dumpable(0);
}
