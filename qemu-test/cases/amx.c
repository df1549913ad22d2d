/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

CASE(.what = "the tiles of AMX keep their contents, in the threads that use them");

enum { REQUEST_PERMISSION = 0x1023, TILES = 18, ROWS = 16, COLUMNS = 64 };

struct config {
	uint8_t palette, start_row, reserved[14];
	uint16_t columns[16];
	uint8_t rows[16];
};

struct tile {
	uint8_t bytes[ROWS][COLUMNS];
} __attribute__((aligned(64)));

static void configure(void)
{
	struct config config __attribute__((aligned(64))) = { .palette = 1 };

	for (int i = 0; i < 8; i++) {
		config.columns[i] = COLUMNS;
		config.rows[i] = ROWS;
	}
	__asm__ volatile("ldtilecfg %0" ::"m"(config));
}

/* Different in every tile of every thread. */
static struct tile content(int thread, int number)
{
	struct tile tile;

	for (int row = 0; row < ROWS; row++)
		for (int column = 0; column < COLUMNS; column++)
			tile.bytes[row][column] = thread * 101 + number * 29 + row * 7 + column;
	return tile;
}

static void load(int thread)
{
	struct tile tiles[2] = { content(thread, 0), content(thread, 1) };

	configure();
	__asm__ volatile("tileloadd (%0,%2,1), %%tmm0\n\ttileloadd (%1,%2,1), %%tmm7" ::"r"(&tiles[0]), "r"(&tiles[1]),
			 "r"((long)COLUMNS)
			 : "memory");
}

static void compare(int thread)
{
	struct tile tiles[2] = { 0 }, expected[2] = { content(thread, 0), content(thread, 1) };

	/* With another configuration this were no instruction, or stored less. */
	__asm__ volatile("tilestored %%tmm0, (%0,%2,1)\n\ttilestored %%tmm7, (%1,%2,1)" ::"r"(&tiles[0]), "r"(&tiles[1]),
			 "r"((long)COLUMNS)
			 : "memory");
	check(!memcmp(&tiles, &expected, sizeof(tiles)), "thread %d: other contents", thread);
}

/* It uses them only when it is restored. */
static void *late(void *arg)
{
	leave_file("late");
	await_file("go");
	load(2);
	compare(2);
	return arg;
}

static void *early(void *arg)
{
	load(1);
	leave_file("early");
	await_file("go");
	compare(1);
	return arg;
}

static void run(void)
{
	pthread_t threads[2];

	if (syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILES))
		skip("this processor has no AMX, or its kernel does not use it");
	must(!pthread_create(&threads[0], NULL, early, NULL) && !pthread_create(&threads[1], NULL, late, NULL));
	await_file("early");
	await_file("late");
	load(0);
	ready();
	compare(0);
	check(!pthread_join(threads[0], NULL) && !pthread_join(threads[1], NULL), "a thread is lost");
}
