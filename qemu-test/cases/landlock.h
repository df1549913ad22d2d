/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* A sandbox in which no file can be made. */
#ifndef LANDLOCK_H
#define LANDLOCK_H

#include "case.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self 446
#endif

enum { LANDLOCK_VERSION = 1, LANDLOCK_MAKE_DIRECTORY = 1 << 7 };

static inline bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION) > 0;
}

static inline void enter_landlock(void)
{
	uint64_t handled = LANDLOCK_MAKE_DIRECTORY;
	int rules = syscall(SYS_landlock_create_ruleset, &handled, sizeof(handled), 0);

	must(rules >= 0);
	must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	must(!syscall(SYS_landlock_restrict_self, rules, 0));
	close(rules);
}

static inline bool is_landlocked(void)
{
	return mkdir("/tmp/landlocked", 0700) < 0 && errno == EACCES;
}

#endif
