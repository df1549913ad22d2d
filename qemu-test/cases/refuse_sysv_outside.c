/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

#include <sys/shm.h>

CASE(.what = "a System V segment that a process outside has attached too is refused",
     .refused = "the tree has 1 of its 2 mappings");

static void run(void)
{
	int id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600), fds[2];
	_Atomic int *at = shmat(id, NULL, 0);

	must(id >= 0 && at != (void *)-1 && !shmctl(id, IPC_RMID, NULL));
	*at = 5;
	/* Who holds the other end of the pipe has inherited the segment. It is not in the tree, and the pipe is closed here. */
	must(!pipe(fds));
	hold_outside(fds[0], fds[1]);
	close(fds[0]);

	ready();
	check(*at == 5, "it is %d", *at);
}
