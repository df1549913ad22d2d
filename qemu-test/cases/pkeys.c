/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>

CASE(.what = "memory keeps its protection keys, threads their rights, and the same keys are free");

enum { KEYS = 5, AREAS = 6 };

static uint8_t *area[AREAS];
static int ends[2];
static uint32_t rights[2];
static sigjmp_buf escape;

static uint32_t rdpkru(void)
{
	uint32_t rights;

	/* rdpkru */
	__asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(rights) : "c"(0) : "rdx");
	return rights;
}

static void wrpkru(uint32_t rights)
{
	/* wrpkru */
	__asm__ volatile(".byte 0x0f, 0x01, 0xef" : : "a"(rights), "c"(0), "d"(0));
}

static void on_fault(int signal)
{
	siglongjmp(escape, signal);
}

/* Whether a byte can be read, and written. */
static bool tries(volatile uint8_t *at, bool write)
{
	volatile uint32_t own = rdpkru();

	if (sigsetjmp(escape, 1)) {
		/* A handler begins with other rights, and has not returned. */
		wrpkru(own);
		return false;
	}
	if (write)
		*at = *at;
	else
		(void)*at;
	return true;
}

static bool reads(uint8_t *at)
{
	return tries(at, false);
}

static bool writes(uint8_t *at)
{
	return tries(at, true);
}

/* The last column of a line of /proc/self/smaps. */
static int key_of(const void *at)
{
	static char text[1 << 20];
	unsigned long start, end;
	bool here = false;
	char *line, *save;

	text[slurp("/proc/self/smaps", text, sizeof(text) - 1)] = 0;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (sscanf(line, "%lx-%lx", &start, &end) == 2)
			here = start <= (unsigned long)at && (unsigned long)at < end;
		else if (here && !strncmp(line, "ProtectionKey:", 14))
			return atoi(line + 14);
	}
	return -1;
}

/*
 * Waits in a call with a time limit, which a restore makes again, for
 * descriptors that are listed where this thread alone may look.
 */
static void *waiter(void *arg)
{
	struct pollfd *fds = (void *)area[3];

	(void)arg;
	pkey_set(1, 0);
	pkey_set(3, PKEY_DISABLE_WRITE);
	fds->fd = ends[0];
	fds->events = POLLIN;
	rights[1] = rdpkru();
	check(poll(fds, 1, PATIENCE_MS) == 1, "poll: %s", strerror(errno));
	check(fds->revents == POLLIN, "revents %x", fds->revents);
	check(rdpkru() == rights[1], "rights of a thread were %x and are %x", rights[1], rdpkru());
	return NULL;
}

static void run(void)
{
	static const uint8_t code[] = { 0xb8, 42, 0, 0, 0, 0xc3 }; /* mov $42, %eax; ret */
	int file = open("mapped", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int before[AREAS];
	pthread_t thread;

	for (int key = 1; key <= 3; key++)
		if (pkey_alloc(0, key == 3 ? PKEY_DISABLE_WRITE : PKEY_DISABLE_ACCESS) != key) {
			/* The processor or the kernel has none. */
			must(key == 1);
			ready();
			return;
		}
	signal(SIGSEGV, on_fault);
	must(file >= 0 && !ftruncate(file, 4 * PAGE) && !pipe(ends));
	for (int i = 0; i < AREAS; i++) {
		area[i] = i == 2 ? mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
				 : map(NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
				       MAP_ANONYMOUS | (i == 4 ? MAP_SHARED : MAP_PRIVATE));
		must(area[i] != MAP_FAILED);
		fill(area[i], 2 * PAGE, i);
		memcpy(area[i] + 3 * PAGE, code, sizeof(code));
		/* Keeps it apart from the next. */
		map(NULL, PAGE, PROT_NONE, ANONYMOUS);
	}
	/* What can only be executed has a key that the kernel takes; or the program takes one of its own. */
	must(!mprotect(area[0], 4 * PAGE, PROT_EXEC) && key_of(area[0]) == 4);
	must(!pkey_mprotect(area[1], 4 * PAGE, PROT_EXEC, 3));
	must(!pkey_mprotect(area[2], 4 * PAGE, PROT_READ | PROT_WRITE, 3));
	must(!pkey_mprotect(area[3], 4 * PAGE, PROT_READ | PROT_WRITE, 1));
	must(!pkey_mprotect(area[4], 4 * PAGE, PROT_READ, 3));
	must(!pkey_mprotect(area[5], 4 * PAGE, PROT_NONE, 1));
	must(pkey_alloc(0, 0) == 5 && !pkey_free(2));
	for (int i = 0; i < AREAS; i++)
		before[i] = key_of(area[i]);
	must(!pthread_create(&thread, NULL, waiter, NULL));
	await_threads_in(SYS_poll);
	rights[0] = rdpkru();

	ready();

	check(rdpkru() == rights[0], "rights were %x and are %x", rights[0], rdpkru());
	for (int i = 0; i < AREAS; i++)
		check(key_of(area[i]) == before[i], "key of area %d was %d and is %d", i, before[i], key_of(area[i]));
	for (int i = 0; i < 2; i++)
		check(((int (*)(void))(area[i] + 3 * PAGE))() == 42, "area %d cannot be executed", i);
	check(!reads(area[0]), "what can only be executed can be read");
	check(reads(area[2]) && !writes(area[2]), "a file by a key that forbids writing");
	check(!reads(area[3]), "memory by a key that forbids all");
	/* The thread that may read it says what it finds. */
	must(write(ends[1], "x", 1) == 1);
	must(!pthread_join(thread, NULL));
	for (int i = 0; i < AREAS; i++) {
		uint8_t *at = area[i];

		must(!pkey_mprotect(at, 4 * PAGE, PROT_READ | PROT_WRITE, 0));
		/* The list of descriptors is where the first words were. */
		for (size_t word = 512; word < 1024; word++)
			check(((uint64_t *)at)[word] == pattern(i, word), "contents of %d, word %zu", i, word);
	}
	/* The key of execute-only memory is not the program's; that which it gave back is free, and no other. */
	check(pkey_free(4) == -1 && errno == EINVAL, "the kernel's key could be given back");
	check(pkey_alloc(0, 0) == 2, "key 2 is not free");
	check(pkey_alloc(0, 0) == 6, "key 6 is not the next");
	for (int key = 1; key <= KEYS; key++)
		if (key != 4)
			check(!pkey_free(key), "key %d was not allocated", key);
	must(!mprotect(area[0], PAGE, PROT_EXEC));
	check(key_of(area[0]) == 4, "what is made execute-only gets key %d", key_of(area[0]));
}
