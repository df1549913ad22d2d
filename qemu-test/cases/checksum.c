/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"

CASE(.what = "dump --checksum: inspect --verify finds a damaged bit in the contents of memory", .drives_itself = true);

static void run(void)
{
	struct adder adder = adder_start(32);
	const char *to = images();
	char image[PATH_MAX + 16];
	char byte;
	int end, fd;

	must(adder_works(&adder));
	snprintf(image, sizeof(image), "%s/crust.img", to);
	for (int running = 0; running < 2; running++) {
		end = tool_end(tool("dump", "--checksum", running ? "--leave-running" : "--leave-stopped", "--tree",
				    adder.number, "--images-dir", to));
		check(end == 0, "dump: %d: %s", end, tool_said());
		kill(adder.pid, SIGCONT);
		check(adder_works(&adder), "the program does not run");
		end = tool_end(tool("inspect", "--verify", image));
		check(end == 0 && strstr(tool_said(), "MiB of memory"), "verify: %d: %s", end, tool_said());
		/* In the midst of its 32 MiB. */
		fd = open(image, O_RDWR | O_CLOEXEC);
		must(fd >= 0 && pread(fd, &byte, 1, 20 << 20) == 1);
		byte ^= 4;
		must(pwrite(fd, &byte, 1, 20 << 20) == 1);
		close(fd);
		end = tool_end(tool("inspect", "--verify", image));
		check(end == 1 && strstr(tool_said(), "crust.img") && strstr(tool_said(), "checksum"),
		      "verify of a damaged image: %d: %s", end, tool_said());
	}
	end = tool_end(tool("dump", "--leave-running", "--tree", adder.number, "--images-dir", to));
	check(end == 0, "dump: %d: %s", end, tool_said());
	end = tool_end(tool("inspect", "--verify", image));
	check(end == 0 && strstr(tool_said(), "no checksums"), "verify without checksums: %d: %s", end, tool_said());
	adder_stop(&adder);
}
