/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"

#include <sys/sendfile.h>

CASE(.what = "a damaged image is refused before anything is made; the whole one restores", .drives_itself = true);

static char whole[PATH_MAX + 16], damaged[PATH_MAX + 16];

/* A copy of the image, of `length` bytes, with the byte at `flip` (if not negative) changed. */
static void damage(off_t length, off_t flip)
{
	int from = open(whole, O_RDONLY | O_CLOEXEC);
	int to = open(damaged, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char byte;

	must(from >= 0 && to >= 0);
	while (length > 0) {
		ssize_t n = sendfile(to, from, NULL, length);

		must(n > 0);
		length -= n;
	}
	if (flip >= 0) {
		must(pread(to, &byte, 1, flip) == 1);
		byte ^= 0x10;
		must(pwrite(to, &byte, 1, flip) == 1);
	}
	close(from);
	close(to);
}

static void run(void)
{
	struct adder adder = adder_start(1);
	const char *to = images();
	struct stat st;
	int end;

	snprintf(whole, sizeof(whole), "%s/crust.img", to);
	snprintf(damaged, sizeof(damaged), "%s/damaged.img", to);
	adder_dump(&adder, to);
	must(!stat(whole, &st));
	check((st.st_mode & 07777) == 0600, "mode %o", st.st_mode & 07777);

	/* The header, the end, and some places of the records, which are at the end. */
	for (int i = 0; i < 12; i++) {
		off_t lengths[] = { 0, 1, 100, st.st_size / 2, st.st_size - 1, st.st_size - 100 };

		if (i < 6)
			damage(lengths[i], -1);
		else
			damage(st.st_size, i == 6 ? 3 : st.st_size - 1 - (i - 7) * 100);
		end = tool_end(tool("restore", "--restore-detached", damaged));
		check(end == 1, "restore of damaged image %d: %d: %s", i, end, tool_said());
		check(strstr(tool_said(), "damaged.img"), "the error does not name the image: %s", tool_said());
		check(!strstr(tool_said(), "panicked"), "%s", tool_said());
		check(kill(adder.pid, 0) && errno == ESRCH, "something was made");
	}
	end = tool_end(tool("restore", "--restore-detached", whole));
	check(end == 0, "restore: %d: %s", end, tool_said());
	check(adder_works(&adder), "the restored program does not run");

	/* Its number is taken now: a conflict, and the program does not notice. */
	end = tool_end(tool("restore", "--restore-detached", whole));
	check(end == 4, "restore beside the running program: %d: %s", end, tool_said());
	check(strstr(tool_said(), adder.number), "the conflict does not name the pid: %s", tool_said());
	check(adder_works(&adder), "the restored program does not run after a second restore was tried");
	adder_stop(&adder);
}
