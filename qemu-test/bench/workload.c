/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * What `make bench` dumps and restores: one program, several shapes.
 *
 *	workload tiny | memory MIB | processes N | chain N | threads N |
 *		mappings N | files N | pipes N
 *
 * When it is set up it makes the file "ready" in the current directory and
 * waits to be killed.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void announce(void)
{
	int fd = open("ready", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		err(1, "ready");
	close(fd);
}

static void *wait_in_thread(void *unused)
{
	for (;;)
		pause();
	return unused;
}

/* Random bytes: nothing may gain by compressing or by skipping zeroes. */
static void memory(size_t mib)
{
	size_t words = mib << 17;
	uint64_t *area = mmap(NULL, words * 8, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t x = 88172645463325252ull;

	if (area == MAP_FAILED)
		err(1, "mmap");
	for (size_t i = 0; i < words; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		area[i] = x;
	}
}

static void processes(long n)
{
	int made[2];
	char byte;

	if (pipe(made))
		err(1, "pipe");
	for (long i = 0; i < n; i++) {
		switch (fork()) {
		case -1:
			err(1, "fork");
		case 0:
			if (write(made[1], "", 1) != 1)
				err(1, "write");
			close(made[0]);
			close(made[1]);
			wait_in_thread(NULL);
		}
	}
	close(made[1]);
	for (long i = 0; i < n; i++)
		if (read(made[0], &byte, 1) != 1)
			err(1, "read");
	/* Until the last child has closed its end. */
	if (read(made[0], &byte, 1) != 0)
		err(1, "read");
	close(made[0]);
}

/*
 * Each process has one child, of `n` more: all but the first say that they are
 * there by closing `said`. Each executes the program anew. Were it only forked,
 * the kernel would tell apart the pages of a thousand generations, and take
 * longer to end them than all else does.
 */
static void chain(long n, int said)
{
	char more[24], end[24];

	if (n == 0)
		return;
	snprintf(more, sizeof(more), "%ld", n - 1);
	snprintf(end, sizeof(end), "%d", said);
	switch (fork()) {
	case -1:
		err(1, "fork");
	case 0:
		execl("/proc/self/exe", "workload", "link", more, end, (char *)NULL);
		err(1, "exec");
	}
}

static void first_of_chain(long n)
{
	int made[2];
	char byte;

	if (pipe(made))
		err(1, "pipe");
	chain(n, made[1]);
	close(made[1]);
	if (read(made[0], &byte, 1) != 0)
		err(1, "read");
	close(made[0]);
}

/* The kernel joins neighbours that are alike. */
static void mappings(long n)
{
	size_t page = 4096;
	char *area = mmap(NULL, n * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		err(1, "mmap");
	for (long i = 0; i < n; i += 2)
		if (mprotect(area + i * page, page, PROT_READ | PROT_WRITE))
			err(1, "mprotect");
	for (long i = 0; i < n; i += 16)
		area[i * page] = 1;
}

static void threads(long n)
{
	pthread_attr_t small;
	pthread_t thread;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 << 10);
	for (long i = 0; i < n; i++)
		if (pthread_create(&thread, &small, wait_in_thread, NULL))
			errx(1, "pthread_create");
}

static void files(long n)
{
	char name[32];

	for (long i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "file-%ld", i);
		if (open(name, O_RDWR | O_CREAT, 0600) < 0)
			err(1, "%s", name);
	}
}

static void pipes(long n)
{
	int fds[2];

	for (long i = 0; i < n; i++)
		if (pipe(fds) || write(fds[1], "content", 7) != 7)
			err(1, "pipe");
}

int main(int argc, char **argv)
{
	const char *shape = argc > 1 ? argv[1] : "";
	long n = argc > 2 ? atol(argv[2]) : 0;

	if (!strcmp(shape, "link") && argc == 4) {
		int said = atoi(argv[3]);

		chain(n, said);
		syscall(SYS_close_range, 0U, ~0U, 0U);
		wait_in_thread(NULL);
	}
	/* What whoever started the benchmark left open is none of the workload's. */
	syscall(SYS_close_range, 3U, ~0U, 0U);
	setsid();
	if (!strcmp(shape, "memory"))
		memory(n);
	else if (!strcmp(shape, "processes"))
		processes(n);
	else if (!strcmp(shape, "chain"))
		first_of_chain(n);
	else if (!strcmp(shape, "threads"))
		threads(n);
	else if (!strcmp(shape, "mappings"))
		mappings(n);
	else if (!strcmp(shape, "files"))
		files(n);
	else if (!strcmp(shape, "pipes"))
		pipes(n);
	else if (strcmp(shape, "tiny"))
		errx(2, "usage: workload tiny | memory MIB | processes N | chain N | threads N | mappings N | "
		     "files N | pipes N");
	announce();
	wait_in_thread(NULL);
}
