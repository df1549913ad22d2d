/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"
#include <pthread.h>

CASE(.what = "a stack of a thread that grows when it is used goes on growing");

enum { ROOM = 4 << 20, AT_FIRST = 16 * PAGE };

static uint8_t *stack;
static volatile bool waits;

/* Uses so much of the stack, page by page, from above. */
static __attribute__((noinline)) unsigned use(unsigned pages)
{
	volatile uint8_t frame[4096];

	frame[0] = frame[4095] = pages;
	return pages ? use(pages - 1) + frame[0] : frame[4095];
}

static void *grower(void *arg)
{
	uint64_t local[64];

	(void)arg;
	fill(local, sizeof(local), 1);
	use(4);
	waits = true;
	await_file("go");
	check(!spoiled(local, sizeof(local), 1), "the stack of a thread");
	/* 2 MiB, where there were 64 KiB. */
	use(500);
	return NULL;
}

static void run(void)
{
	/* glibc does not look at what the attribute says is there. */
	uint8_t *space = map(NULL, ROOM, PROT_NONE, ANONYMOUS);
	char maps[256], flags[256];
	unsigned long start, end;
	pthread_attr_t attributes;
	pthread_t thread;

	must(!munmap(space, ROOM));
	stack = map(space + ROOM - AT_FIRST, AT_FIRST, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN);
	/* What comes below it. */
	map(space - PAGE, PAGE, PROT_READ, ANONYMOUS | MAP_FIXED);
	must(!pthread_attr_init(&attributes));
	must(!pthread_attr_setstack(&attributes, stack, AT_FIRST));
	must(!pthread_create(&thread, &attributes, grower, NULL));
	while (!waits)
		pause_ms(1);

	ready();

	must(!pthread_join(thread, NULL));
	check(smaps_of(stack, maps, sizeof(maps), flags, sizeof(flags)) && strstr(flags, " gd "), "flags are%s", flags);
	must(sscanf(maps, "%lx-%lx", &start, &end) == 2);
	check(end == (unsigned long)space + ROOM, "it ends at %lx", end);
	check(start <= end - 500 * PAGE, "it begins at %lx, and ends at %lx", start, end);
}
