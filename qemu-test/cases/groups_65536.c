/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "credentials.h"

CASE(.what = "as many supplementary groups as there can be, 65,536, are kept");

enum { MOST = 65536 };
static gid_t groups[MOST], is[MOST];

static void run(void)
{
	int count;

	/* The kernel sorts them. */
	for (int i = 0; i < MOST; i++)
		groups[i] = i * 3;
	must(!setgroups(MOST, groups));
	ready();
	count = getgroups(MOST, is);
	check(count == MOST && !memcmp(groups, is, sizeof(is)), "%d groups", count);
}
