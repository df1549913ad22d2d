/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "memory shared by three processes is the same memory still, with its contents");

enum { SIZE = 64 * PAGE };

struct common {
	_Atomic int arrived, turn;
};

/* Waits until it is somebody's turn. */
static void await(struct common *common, int turn)
{
	while (common->turn != turn)
		pause_ms(1);
}

static void child(struct common *common, uint8_t *memory, int which)
{
	uint8_t *part = memory + which * 16 * PAGE;

	if (which == 2) {
		/* Has the end only, and at another address than the others. */
		uint8_t *at = map(NULL, SIZE, PROT_NONE, ANONYMOUS);

		must(mremap(memory + SIZE / 2, SIZE / 2, SIZE / 2, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at);
		must(!munmap(memory, SIZE / 2));
		part = at;
	}
	common->arrived++;
	await_file("go");
	await(common, which);
	check(!spoiled(part + PAGE, PAGE, which), "process %d does not see what it wrote", which);
	fill(part + 2 * PAGE, PAGE, 100 + which);
	common->turn++;
	await(common, 3);
	_exit(!!case_failures);
}

static void run(void)
{
	struct common *common = map(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	uint8_t *memory = map(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	pid_t pids[2];
	int status;

	/* By the parent, and the children have not touched it. */
	fill(memory + 16 * PAGE + PAGE, PAGE, 1);
	fill(memory + SIZE / 2 + PAGE, PAGE, 2);
	fill(memory, PAGE, 3);
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		must(pids[i] >= 0);
		if (!pids[i])
			child(common, memory, i + 1);
	}
	while (common->arrived != 2)
		pause_ms(1);
	ready();
	check(!spoiled(memory, PAGE, 3), "the parent's page");
	common->turn = 1;
	await(common, 3);
	check(!spoiled(memory + 16 * PAGE + 2 * PAGE, PAGE, 101), "what child 1 wrote is not seen");
	check(!spoiled(memory + SIZE / 2 + 2 * PAGE, PAGE, 102), "what child 2 wrote is not seen");
	for (int i = 0; i < 2; i++) {
		check(waitpid(pids[i], &status, 0) == pids[i] && status == 0, "child %d: %x", i + 1, status);
	}
}
