/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "256 MiB are the same, to the word");

static void run(void)
{
	size_t size = 256ul << 20;
	void *memory = map(NULL, size, PROT_READ | PROT_WRITE, ANONYMOUS);

	fill(memory, size, 1);
	ready();
	check(!spoiled(memory, size, 1), "%zu words", spoiled(memory, size, 1));
}
