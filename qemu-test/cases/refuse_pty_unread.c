/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "pty.h"

CASE(.what = "a terminal whose output has not been read is refused, and loses nothing", .refused = "output that its controlling side has not read yet");

static void run(void)
{
	char name[64], text[4] = "";
	int master = pty_open(name, 0), slave = open(name, O_RDWR | O_NOCTTY);

	must(slave >= 0 && write(slave, "abc", 3) == 3);
	ready();
	check(read(master, text, 4) == 3 && !strcmp(text, "abc"), "%s", text);
}
