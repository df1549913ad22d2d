// SPDX-License-Identifier: Apache-2.0 OR MIT

#include "case.h"

#include <sys/resource.h>

CASE(.what = "a descriptor so high that the restore would find no number above it is refused, and the program goes on",
     .refused = "descriptor numbers");

static void run(void)
{
	struct rlimit limit;
	int high, pipes[2];
	char byte = 0;

	must(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	must(!setrlimit(RLIMIT_NOFILE, &limit));
	must(!pipe(pipes));
	high = dup2(pipes[1], (int)limit.rlim_max - 1);
	must(high >= 0);
	ready();
	check(write(high, "x", 1) == 1, "the high descriptor is gone: %s", strerror(errno));
	check(read(pipes[0], &byte, 1) == 1 && byte == 'x', "got %d", byte);
}
