/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "seccomp.h"

CASE(.what = "a process whose calls a listener decides on is refused", .refused = "listener");

static void run(void)
{
	int listener = filter_calls(SECCOMP_FILTER_FLAG_NEW_LISTENER, (const int[]){ SYS_getppid, -1 },
				    SECCOMP_RET_USER_NOTIF, SECCOMP_RET_ALLOW);

	must(listener >= 0);
	/* As if somebody else had it. */
	close(listener);
	ready();
	check(error_of(SYS_getppid) == ENOSYS, "getppid: %s", strerror(errno));
}
