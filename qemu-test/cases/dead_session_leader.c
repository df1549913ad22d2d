/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a process whose session and group leader is dead stays in that session and group");

static void run(void)
{
	pid_t leader, sid, pgid, pid, *orphan;
	int status;

	orphan = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(orphan != MAP_FAILED);
	/* The orphan becomes a child of this process, and not of init. */
	must(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	leader = fork();
	must(leader >= 0);
	if (leader == 0) {
		must(setsid() == getpid());
		pid = fork();
		must(pid >= 0);
		if (pid == 0) {
			while (getppid() == getsid(0))
				pause_ms(1);
			sid = getsid(0);
			pgid = getpgrp();
			leave_file("orphaned");
			await_file("go");
			check(getsid(0) == sid && sid != getpid(), "session %d was %d", getsid(0), sid);
			check(getpgrp() == pgid, "group %d was %d", getpgrp(), pgid);
			check(kill(-pgid, 0) == 0, "the group can be signalled");
			check(kill(sid, 0) < 0 && errno == ESRCH, "the leader is dead");
			_exit(case_failures ? 1 : 0);
		}
		orphan[0] = pid;
		_exit(0);
	}
	must(waitpid(leader, &status, 0) == leader && status == 0);
	await_file("orphaned");
	ready();
	check(getsid(orphan[0]) == leader && getpgid(orphan[0]) == leader, "session %d, group %d, not %d",
	      getsid(orphan[0]), getpgid(orphan[0]), leader);
	check(waitpid(orphan[0], &status, 0) == orphan[0] && status == 0, "status %x", status);
}
