// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * What the kernel ran in the calls of the device: KCOV, collected as a set of
 * addresses that all processes share. The upper half of an address of kernel
 * code is all ones.
 */
#include "fuzz.h"

#define KCOV_INIT_TRACE	_IOR('c', 1, unsigned long)
#define KCOV_ENABLE	_IO('c', 100)
#define KCOV_TRACE_PC	0
#define KCOV_WORDS	(64 << 10)

bool coverage_wanted;

static __thread uint64_t *area;

void coverage_begin(void)
{
	int fd;

	area = NULL;
	if (!coverage_wanted)
		return;
	fd = open("/sys/kernel/debug/kcov", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	if (!ioctl(fd, KCOV_INIT_TRACE, KCOV_WORDS)) {
		void *map = mmap(NULL, KCOV_WORDS * sizeof(*area), PROT_READ | PROT_WRITE,
				 MAP_SHARED, fd, 0);

		if (map != MAP_FAILED && !ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC))
			area = map;
	}
	/* Enabled as long as the thread lives; a fork does not inherit it. The file must stay open. */
	if (!area)
		close(fd);
}

void coverage_on(void)
{
	if (area)
		__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
}

static void add(uint32_t pc)
{
	uint32_t slot = pc * 2654435761U >> 14;

	for (unsigned int tries = 0; tries < 64; tries++, slot++) {
		_Atomic uint32_t *entry = &shared->pcs[slot % PC_SLOTS];
		uint32_t old = 0;

		if (*entry == pc)
			return;
		if (!*entry && atomic_compare_exchange_strong(entry, &old, pc)) {
			atomic_fetch_add(&shared->pc_count, 1);
			return;
		}
		if (old == pc)
			return;
	}
}

void coverage_off(void)
{
	uint64_t count;

	if (!area)
		return;
	count = __atomic_load_n(&area[0], __ATOMIC_RELAXED);
	for (uint64_t i = 1; i <= count && i < KCOV_WORDS; i++)
		add(area[i]);
}

bool coverage_write(const char *path)
{
	FILE *file = fopen(path, "w");

	if (!file)
		return false;
	for (unsigned int i = 0; i < PC_SLOTS; i++)
		if (shared->pcs[i])
			fprintf(file, "0xffffffff%08x\n", shared->pcs[i]);
	return !fclose(file);
}
