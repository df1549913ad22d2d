/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

/* The module cannot be asked for it. */
CASE(.what = "a process with a keyring of its own is refused", .dump = "--backend mainline", .refused = "keyring");

enum { GET_KEYRING_ID = 0, OF_PROCESS = -2 };

static void run(void)
{
	long before = syscall(SYS_keyctl, GET_KEYRING_ID, OF_PROCESS, 1);

	if (before < 0)
		skip("the kernel has no keyrings");
	ready();
	check(syscall(SYS_keyctl, GET_KEYRING_ID, OF_PROCESS, 0) == before, "another keyring");
}
