/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"
#include <sys/time.h>

CASE(.what = "a program of old times goes on telling the time by vsyscalls");

typedef int vgettimeofday(struct timeval *, struct timezone *);
typedef time_t vtime(time_t *);

static void run(void)
{
	vgettimeofday *gettime = (vgettimeofday *)0xffffffffff600000;
	vtime *seconds = (vtime *)0xffffffffff600400;
	static char maps[1 << 16];
	struct timeval before, after;

	slurp("/proc/self/maps", maps, sizeof(maps) - 1);
	/* A kernel with vsyscall=none, as most are by now. */
	if (!strstr(maps, "[vsyscall]")) {
		ready();
		return;
	}
	must(!gettime(&before, NULL));

	ready();

	check(!gettime(&after, NULL), "it fails");
	check(after.tv_sec >= before.tv_sec, "%ld is before %ld", (long)after.tv_sec, (long)before.tv_sec);
	check(seconds(NULL) >= after.tv_sec, "the other clock tells %ld", (long)seconds(NULL));
}
