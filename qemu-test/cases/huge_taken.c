/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"
#include "smaps.h"
#include "huge.h"

CASE(.what = "a restore that needs more huge pages than there are is refused, with the number", .drives_itself = true);

static void run(void)
{
	struct adder adder;
	const char *to;
	uint8_t *at, *all;
	size_t length;
	int end;

	if (!huge_pages(8))
		return;
	at = map(NULL, 3 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB);
	fill(at, HUGE, 1);
	adder = adder_start(1);
	munmap(at, 3 * HUGE);
	to = images();
	adder_dump(&adder, to);

	/* All but two. */
	length = (pool("free_hugepages") - pool("resv_hugepages") - 2) * HUGE;
	all = map(NULL, length, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_HUGETLB);
	end = tool_end(tool("restore", "--restore-detached", "--images-dir", to));
	check(end == 4, "restore: %d: %s", end, tool_said());
	check(strstr(tool_said(), "the image needs 3, and this machine has 2 free, of 2048 KiB each"), "%s", tool_said());
	check(kill(adder.pid, 0) && errno == ESRCH, "something was made");
	munmap(all, length);
	end = tool_end(tool("restore", "--restore-detached", "--images-dir", to));
	check(end == 0, "restore: %d: %s", end, tool_said());
	check(adder_works(&adder), "the restored program does not run");
	adder_stop(&adder);
}
