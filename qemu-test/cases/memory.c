/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "private memory keeps contents and protections, heap and stack still grow");

/* Uses stack far below what was used before. */
static __attribute__((noinline)) unsigned long deep(unsigned depth)
{
	volatile unsigned char frame[4096];

	memset((void *)frame, depth, sizeof(frame));
	return (depth ? deep(depth - 1) : 0) + frame[depth % sizeof(frame)];
}

static bool can_write(void *at)
{
	int fds[2];
	bool can;

	/* read() into memory fails politely where a store would not. */
	must(!pipe(fds) && write(fds[1], at, 1) == 1);
	can = read(fds[0], at, 1) == 1;
	close(fds[0]);
	close(fds[1]);
	return can;
}

static void run(void)
{
	enum { AREAS = 64, SIZE = 16 * PAGE };
	uint8_t *area[AREAS];
	int prot[AREAS];
	/* Holes between them keep them apart. */
	uint8_t *base = map(NULL, AREAS * 2 * SIZE, PROT_NONE, ANONYMOUS);
	uint64_t *heap = malloc(100000);
	uint8_t *top = sbrk(0);
	uint8_t *code = map(NULL, PAGE, PROT_READ | PROT_WRITE, ANONYMOUS);
	uint64_t local[512];
	char maps[256], flags[256];

	for (int i = 0; i < AREAS; i++) {
		area[i] = base + i * 2 * SIZE;
		must(!mprotect(area[i], SIZE, PROT_READ | PROT_WRITE));
		/* Every third page stays untouched. */
		for (int page = 0; page < 16; page++)
			if (page % 3)
				fill(area[i] + page * PAGE, PAGE, i * 16 + page);
		prot[i] = i % 4 == 0 ? PROT_READ : i % 4 == 1 ? PROT_NONE : PROT_READ | PROT_WRITE;
		must(!mprotect(area[i], SIZE, prot[i]));
	}
	fill(heap, 100000, 77);
	fill(local, sizeof(local), 78);
	/* mov $42, %eax; ret */
	memcpy(code, "\xb8\x2a\0\0\0\xc3", 6);
	must(!mprotect(code, PAGE, PROT_READ | PROT_EXEC));

	ready();

	check(((int (*)(void))code)() == 42, "code does not run");
	check(!can_write(code), "code can be written");
	check(!spoiled(heap, 100000 / 8 * 8, 77), "heap");
	check(!spoiled(local, sizeof(local), 78), "stack");
	for (int i = 0; i < AREAS; i++) {
		if (prot[i] & PROT_READ)
			check(can_write(area[i]) == !!(prot[i] & PROT_WRITE), "area %d: protection", i);
		else
			must(!mprotect(area[i], SIZE, PROT_READ));
		for (int page = 0; page < 16; page++) {
			uint64_t *at = (uint64_t *)(area[i] + page * PAGE);

			if (page % 3)
				check(!spoiled(at, PAGE, i * 16 + page), "area %d page %d", i, page);
			else
				for (int word = 0; word < 512; word++)
					check(!at[word], "area %d page %d is not zero", i, page);
		}
	}

	check(sbrk(0) == top, "the break moved from %p to %p", top, sbrk(0));
	check(sbrk(1 << 20) == top, "the heap cannot grow");
	memset(top, 5, 1 << 20);
	check(smaps_of(top - 1, maps, sizeof(maps), flags, sizeof(flags)) && strstr(maps, "[heap]"),
	      "no heap: %s", maps);
	check(smaps_of(top + (1 << 20) - 1, maps, sizeof(maps), flags, sizeof(flags)) &&
	      strstr(maps, "[heap]"), "the heap did not grow as one: %s", maps);
	check(smaps_of(local, maps, sizeof(maps), flags, sizeof(flags)) && strstr(maps, "[stack]") &&
	      strstr(flags, " gd "), "no stack: %s%s", maps, flags);
	for (int i = 0; i < 100; i++) {
		void *p = malloc(3000 * (i + 1));

		memset(p, i, 3000 * (i + 1));
		if (i % 2)
			free(p);
	}
	/* 2 MiB, where there were some pages. */
	deep(500);
}
