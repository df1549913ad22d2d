/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "parent and child each have their own of what they shared at the fork");

static void run(void)
{
	enum { SIZE = 64 * PAGE };
	uint8_t *memory = map(NULL, SIZE, PROT_READ | PROT_WRITE, ANONYMOUS);
	int status;
	pid_t pid;

	fill(memory, SIZE, 1);
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		fill(memory + 5 * PAGE, PAGE, 2);
		leave_file("written");
		await_file("go");
		check(!spoiled(memory + 5 * PAGE, PAGE, 2), "the child's own page");
		check(((uint64_t *)(memory + 6 * PAGE))[3] ==
		      pattern(1, 6 * 512 + 3), "the child's view of the old page");
		fill(memory + 7 * PAGE, PAGE, 3);
		_exit(!!case_failures);
	}
	await_file("written");
	fill(memory + 9 * PAGE, PAGE, 1);
	ready();
	check(waitpid(pid, &status, 0) == pid && status == 0, "child: %x", status);
	for (int page = 0; page < 64; page++)
		if (page != 9)
			for (int word = 0; word < 512; word++)
				check(((uint64_t *)memory)[page * 512 + word] == pattern(1, page * 512 + word),
				      "page %d word %d of the parent", page, word);
	check(!spoiled(memory + 9 * PAGE, PAGE, 1), "the parent's own page");
}
