/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "anonymous memory keeps its name");

static void run(void)
{
	uint8_t *private = map(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS);
	uint8_t *shared = map(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	char maps[256], flags[256];
	/* Linux 5.17, 6.2 for shared memory; CONFIG_ANON_VMA_NAME. */
	bool named = !prctl(0x53564d41, 0, private, 4 * PAGE, "a name, of crust") &&
		     !prctl(0x53564d41, 0, shared, 4 * PAGE, "shared name");

	fill(private, PAGE, 1);
	fill(shared, PAGE, 2);
	ready();
	check(!spoiled(private, PAGE, 1) && !spoiled(shared, PAGE, 2), "contents");
	if (!named)
		return;
	check(smaps_of(private, maps, sizeof(maps), flags, sizeof(flags)) &&
	      strstr(maps, "[anon:a name, of crust]\n"), "private: %s", maps);
	check(smaps_of(shared, maps, sizeof(maps), flags, sizeof(flags)) &&
	      strstr(maps, "[anon_shmem:shared name]\n"), "shared: %s", maps);
}
