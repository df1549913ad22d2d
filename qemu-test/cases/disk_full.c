/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"

CASE(.what = "a dump to a full disk says so, leaves the program running and no file", .drives_itself = true);

static void run(void)
{
	const char *to = images();
	struct adder adder;
	int end;

	must(!unshare(CLONE_NEWNS) && !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	must(!mount("none", to, "tmpfs", 0, "size=4m"));
	/* Afterwards: crust does not dump out of another mount namespace. */
	adder = adder_start(16);
	must(adder_works(&adder));
	for (int running = 0; running < 2; running++) {
		end = running ? tool_end(tool("dump", "--leave-running", "--tree", adder.number, "--images-dir", to)) :
				tool_end(tool("dump", "--tree", adder.number, "--images-dir", to));
		check(end == 1, "dump: %d: %s", end, tool_said());
		check(strstr(tool_said(), "ENOSPC") || strstr(tool_said(), "o space left"),
		      "the error does not say why: %s", tool_said());
		check(names_in(to) == 0, "%d names in the directory", names_in(to));
		check(adder_works(&adder), "the program does not run");
		check(status_of(adder.pid, "TracerPid") == 0, "it is still traced");
	}
	adder_stop(&adder);
	umount(to);
}
