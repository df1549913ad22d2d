/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "credentials.h"

CASE(.what = "all securebits, and that they are locked, are kept");

static int up[2], go[2];

static void child(int bits)
{
	struct ids was, is;
	char byte;
	pid_t pid = fork();

	must(pid >= 0);
	if (pid) {
		must(read(up[0], &byte, 1) == 1);
		return;
	}
	must(!prctl(PR_SET_SECUREBITS, bits));
	was = credentials();
	must(was.securebits == bits);
	must(write(up[1], "u", 1) == 1);
	must(read(go[0], &byte, 1) == 1);
	is = credentials();
	same("child", &was, &is);
	if (bits & SECURE_ALL_LOCKS)
		check(prctl(PR_SET_SECUREBITS, 0) < 0 && errno == EPERM, "locks do not hold");
	else
		check(!prctl(PR_SET_SECUREBITS, 0), "%s", strerror(errno));
	_exit(case_failures ? 1 : 0);
}

static void run(void)
{
	/* Those of old; the others came with Linux 6.14. */
	enum { BITS = 0x55, LOCKS = 0xaa };
	const int all[] = { BITS | LOCKS, LOCKS, BITS, SECBIT_KEEP_CAPS, SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED };
	const int count = sizeof(all) / sizeof(*all);
	int status;

	must(!pipe(up) && !pipe(go));
	for (int i = 0; i < count; i++)
		child(all[i]);
	ready();
	must(write(go[1], "ggggg", count) == count);
	for (int i = 0; i < count; i++)
		check(wait(&status) > 0 && !status, "child: %#x", status);
}
