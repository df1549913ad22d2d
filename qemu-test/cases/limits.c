/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/resource.h>

CASE(.what = "soft and hard resource limits are kept, also below what was in use");

static void run(void)
{
	struct rlimit was[RLIM_NLIMITS], is;

	/* Below the descriptors that are open, below the memory that is mapped. */
	must(dup2(1, 200) == 200);
	must(!setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 100, 150 }));
	must(!setrlimit(RLIMIT_AS, &(struct rlimit){ 1 << 20, RLIM_INFINITY }));
	/* sudo takes this one away, and not every root may have it back. */
	must(!getrlimit(RLIMIT_CORE, &is));
	must(!setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, is.rlim_max < 12345 ? is.rlim_max : 12345 }));
	must(!setrlimit(RLIMIT_STACK, &(struct rlimit){ 1 << 20, 2 << 20 }));
	must(!setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 1 << 20, 1 << 20 }));
	for (int i = 0; i < RLIM_NLIMITS; i++)
		must(!getrlimit(i, &was[i]));
	ready();
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		must(!getrlimit(i, &is));
		check(is.rlim_cur == was[i].rlim_cur && is.rlim_max == was[i].rlim_max,
		      "limit %d is %lu/%lu, was %lu/%lu", i, is.rlim_cur, is.rlim_max,
		      was[i].rlim_cur, was[i].rlim_max);
	}
	check(fcntl(200, F_GETFD) == 0, "descriptor 200 is closed");
}
