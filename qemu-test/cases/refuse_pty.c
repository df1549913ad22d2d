/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "a pseudo-terminal is refused, and goes on", .refused = "the controlling side of a pseudo-terminal");

static void run(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	char c;

	must(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY);

	must(slave >= 0);

	ready();
	check(write(master, "x\n", 2) == 2 && read(slave, &c, 1) == 1 && c == 0x78, "the terminal is cut");
}
