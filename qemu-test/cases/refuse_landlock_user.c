/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "landlock.h"

#include <grp.h>

/* The module cannot be asked for it. */
CASE(.what = "a process without privileges in a Landlock domain is refused", .dump = "--backend mainline",
     .refused = "Landlock domain");

static void run(void)
{
	int up[2], go[2], status;
	char byte;
	pid_t pid;

	if (!has_landlock())
		skip("the kernel has no Landlock");
	must(!pipe(up) && !pipe(go));
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		must(!setgroups(0, NULL) && !setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
		enter_landlock();
		must(write(up[1], "u", 1) == 1);
		must(read(go[0], &byte, 1) == 1);
		_exit(!is_landlocked());
	}
	must(read(up[0], &byte, 1) == 1);
	ready();
	must(write(go[1], "g", 1) == 1);
	check(waitpid(pid, &status, 0) == pid && !status, "child: %#x", status);
}
