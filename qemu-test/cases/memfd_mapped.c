/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "mappings of memfds, shared and private, with and without descriptors, by several processes");

enum { SIZE = 32 * PAGE };

static uint8_t *map_of(int fd, int prot, int flags, off_t offset, size_t size)
{
	uint8_t *at = mmap(NULL, size, prot, flags, fd, offset);

	must(at != MAP_FAILED);
	return at;
}

static void run(void)
{
	int fd = memfd_create("shared", MFD_ALLOW_SEALING), reader, status;
	int common_fd = memfd_create("common", 0);
	uint8_t *shared, *tail, *private, *read_only, *of_reader, *child_map;
	char path[64], maps[256], flags[256], flags_before[256];
	_Atomic int *common;
	pid_t child;

	must(fd >= 0 && common_fd >= 0 && !ftruncate(fd, SIZE) && !ftruncate(common_fd, PAGE));
	common = (void *)map_of(common_fd, PROT_READ | PROT_WRITE, MAP_SHARED, 0, PAGE);
	close(common_fd);
	shared = map_of(fd, PROT_READ | PROT_WRITE, MAP_SHARED, 0, SIZE);
	fill(shared, SIZE, 1);
	tail = map_of(fd, PROT_READ, MAP_SHARED, 16 * PAGE, SIZE / 2);
	private = map_of(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0, SIZE);
	fill(private + 3 * PAGE, PAGE, 2);
	must(!mprotect(private, 8 * PAGE, PROT_READ) && !mlock(private + 20 * PAGE, PAGE));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	reader = open(path, O_RDONLY);
	must(reader >= 0);
	read_only = map_of(reader, PROT_READ, MAP_SHARED, 0, SIZE);
	must(smaps_of(read_only, maps, sizeof(maps), flags_before, sizeof(flags_before)));
	must(mprotect(read_only, PAGE, PROT_READ | PROT_WRITE) && errno == EACCES);

	child = fork();
	must(child >= 0);
	if (!child) {
		/* One that only the child has, through a mapping of what is no page at its end. */
		int own = memfd_create("own", 0);

		must(own >= 0 && !ftruncate(own, 3 * PAGE + 10));
		of_reader = map_of(own, PROT_READ | PROT_WRITE, MAP_SHARED, 0, 4 * PAGE);
		fill(of_reader, 3 * PAGE, 9);
		of_reader[3 * PAGE + 9] = 'e';
		child_map = map_of(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0, SIZE);
		fill(child_map + 5 * PAGE, PAGE, 6);
		close(own);
		close(fd);
		close(reader);
		*common = 1;
		await_file("go");
		while (*common != 2)
			pause_ms(1);
		check(!spoiled(shared + PAGE, PAGE, 7), "the child does not see what the parent wrote");
		check(!memcmp(tail, shared + 16 * PAGE, SIZE / 2), "the tail is other memory in the child");
		check(!spoiled(child_map + 5 * PAGE, PAGE, 6), "what the child wrote privately");
		check(!spoiled(child_map + PAGE, PAGE, 7), "what the child did not write is the file's");
		check(!spoiled(of_reader, 3 * PAGE, 9) && of_reader[3 * PAGE + 9] == 'e', "its own");
		fill(shared + 2 * PAGE, PAGE, 8);
		*common = 3;
		_exit(!!case_failures);
	}
	while (*common != 1)
		pause_ms(1);

	ready();

	check(*common == 1, "it is %d", *common);
	check(!memcmp(tail, shared + 16 * PAGE, SIZE / 2), "the tail is other memory");
	check(!memcmp(read_only, shared, SIZE), "the read-only mapping is other memory");
	check(mprotect(read_only, PAGE, PROT_READ | PROT_WRITE) && errno == EACCES, "it can be made writable");
	check(!mprotect(tail, PAGE, PROT_READ | PROT_WRITE), "the tail cannot be made writable");
	check(smaps_of(read_only, maps, sizeof(maps), flags, sizeof(flags)) && !strcmp(flags, flags_before),
	      "flags%s, and were%s", flags, flags_before);
	check(strstr(maps, "/memfd:shared (deleted)"), "%s", maps);
	check(smaps_of(private + 20 * PAGE, maps, sizeof(maps), flags, sizeof(flags)) && strstr(flags, " lo "),
	      "not locked: %s", flags);
	for (int page = 0; page < 32; page++) {
		uint64_t *word = (uint64_t *)(private + page * PAGE);

		if (page == 3)
			check(!spoiled(word, PAGE, 2), "private page 3");
		else
			check(word[5] == pattern(1, page * 512 + 5), "private page %d", page);
	}
	must(!mprotect(private, 8 * PAGE, PROT_READ | PROT_WRITE));
	fill(shared + PAGE, PAGE, 7);
	check(!spoiled(private + PAGE, PAGE, 7), "the private mapping has another file");
	*common = 2;
	must(waitpid(child, &status, 0) == child);
	check(*common == 3 && status == 0, "child: %x", status);
	check(!spoiled(shared + 2 * PAGE, PAGE, 8), "what the child wrote");
	check(pread(fd, path, 8, 2 * PAGE) == 8 && *(uint64_t *)path == pattern(8, 0), "by the descriptor");
}
