/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

#include <sys/resource.h>

CASE(.what = "a program that may write small files only has much memory");

static void run(void)
{
	size_t size = 32ul << 20;
	void *memory = map(NULL, size, PROT_READ | PROT_WRITE, ANONYMOUS);
	struct rlimit limit;

	fill(memory, size, 1);
	must(!setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 4096, 8192 }));
	ready();
	check(!spoiled(memory, size, 1), "%zu words", spoiled(memory, size, 1));
	must(!getrlimit(RLIMIT_FSIZE, &limit));
	check(limit.rlim_cur == 4096 && limit.rlim_max == 8192, "limit %lu/%lu", limit.rlim_cur, limit.rlim_max);
}
