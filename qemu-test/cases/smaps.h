/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* What /proc/self says of one's own memory. Include after case.h. */
#ifndef SMAPS_H
#define SMAPS_H

#define PAGE 4096ul

/*
 * Copies the VmFlags of the mapping that holds an address, as " rd wr mr ", and
 * its line of maps; false if there is no such mapping. "sd" (soft-dirty) is
 * left out: it only says that the mapping is new.
 */
static inline bool smaps_of(const void *address, char *header, size_t header_size,
			    char *flags, size_t flags_size)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long start, end, at = (unsigned long)address;
	bool here = false, found = false;
	static char line[8192];

	must(f);
	while (!found && fgets(line, sizeof(line), f)) {
		if (line[0] >= 'A' && line[0] <= 'Z') {
			if (here && !strncmp(line, "VmFlags:", 8)) {
				char *word, *save;

				snprintf(flags, flags_size, " ");
				for (word = strtok_r(line + 8, " \n", &save); word;
				     word = strtok_r(NULL, " \n", &save)) {
					if (!strcmp(word, "sd"))
						continue;
					strncat(flags, word, flags_size - strlen(flags) - 1);
					strncat(flags, " ", flags_size - strlen(flags) - 1);
				}
				found = true;
			}
		} else if (sscanf(line, "%lx-%lx", &start, &end) == 2) {
			here = start <= at && at < end;
			if (here) {
				*header = '\0';
				strncat(header, line, header_size - 1);
			}
		}
	}
	fclose(f);
	return found;
}

/* The whole of a file of /proc/self; returns how many bytes. */
static inline size_t slurp(const char *path, char *into, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	ssize_t got;

	must(fd >= 0);
	while ((got = read(fd, into + n, size - n)) > 0)
		n += got;
	must(got == 0);
	close(fd);
	return n;
}

/* A word that depends on the place and on a seed. */
static inline uint64_t pattern(uint64_t seed, size_t i)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ull + i;

	x ^= x >> 31;
	x *= 0xbf58476d1ce4e5b9ull;
	return x ^ x >> 29;
}

static inline void fill(void *at, size_t bytes, uint64_t seed)
{
	for (size_t i = 0; i < bytes / 8; i++)
		((uint64_t *)at)[i] = pattern(seed, i);
}

/* How many words are not what fill() has left. */
static inline size_t spoiled(const void *at, size_t bytes, uint64_t seed)
{
	size_t wrong = 0;

	for (size_t i = 0; i < bytes / 8; i++)
		wrong += ((const uint64_t *)at)[i] != pattern(seed, i);
	return wrong;
}

static inline void *map(void *at, size_t bytes, int prot, int flags)
{
	void *p = mmap(at, bytes, prot, flags, -1, 0);

	must(p != MAP_FAILED);
	return p;
}

#define ANONYMOUS (MAP_PRIVATE | MAP_ANONYMOUS)

#endif
