/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

#include <semaphore.h>

CASE(.what = "mappings of deleted files, shared by processes and private, most of them without a descriptor");

enum { SIZE = 32 * PAGE };

static int file(const char *directory, const char *name, char *path)
{
	int fd;

	snprintf(path, PATH_MAX, "%s/%s", directory, name);
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	must(fd >= 0);
	return fd;
}

static void run(void)
{
	uint8_t *buffer = malloc(SIZE), *shared, *private, *read_only, *in_shm;
	char path[PATH_MAX], maps[512], flags[256], name[64];
	sem_t *parent_turn, *child_turn;
	int fd, status, still_open;
	struct stat st;
	pid_t child;

	/* As multiprocessing of Python has them: without a name, shared by what is forked. */
	snprintf(name, sizeof(name), "/crust-case-%d-a", getpid());
	parent_turn = sem_open(name, O_CREAT | O_EXCL, 0600, 0);
	must(parent_turn != SEM_FAILED && !sem_unlink(name));
	snprintf(name, sizeof(name), "/crust-case-%d-b", getpid());
	child_turn = sem_open(name, O_CREAT | O_EXCL, 0600, 2);
	must(child_turn != SEM_FAILED && !sem_unlink(name));

	fill(buffer, SIZE, 1);
	still_open = file(case_dir, "gone", path);
	must(write(still_open, buffer, SIZE) == SIZE);
	shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, still_open, 0);
	private = mmap(NULL, SIZE - 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, still_open, 4 * PAGE);
	fd = open(path, O_RDONLY);
	must(fd >= 0);
	read_only = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	must(shared != MAP_FAILED && private != MAP_FAILED && read_only != MAP_FAILED && !unlink(path));
	close(fd);
	fill(private + 3 * PAGE, PAGE, 50);
	must(!mprotect(private, SIZE - 4 * PAGE, PROT_READ));

	fd = file("/dev/shm", name + 1, path);
	must(!ftruncate(fd, SIZE));
	in_shm = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(in_shm != MAP_FAILED && !unlink(path));
	close(fd);
	fill(in_shm + 7 * PAGE, PAGE, 3);

	child = fork();
	must(child >= 0);
	if (!child) {
		close(still_open);
		await_file("go");
		must(!sem_wait(child_turn) && !sem_wait(child_turn));
		fill(in_shm + PAGE, PAGE, 4);
		fill(shared + 2 * PAGE, PAGE, 5);
		check(!spoiled(in_shm + 7 * PAGE, PAGE, 3), "the child sees other memory");
		check(!spoiled(private + 3 * PAGE, PAGE, 50), "what was written privately, in the child");
		must(!sem_post(parent_turn) && !sem_wait(child_turn));
		_exit(!!case_failures);
	}

	ready();

	must(!sem_wait(parent_turn));
	check(!spoiled(in_shm + PAGE, PAGE, 4), "what the child wrote in /dev/shm");
	check(!spoiled(shared + 2 * PAGE, PAGE, 5), "what the child wrote");
	check(!memcmp(shared, read_only, SIZE), "the read-only mapping is other memory");
	check(mprotect(read_only, PAGE, PROT_READ | PROT_WRITE) && errno == EACCES, "it can be made writable");
	for (int page = 0; page < 28; page++) {
		if (page == 3)
			check(!spoiled(private + 3 * PAGE, PAGE, 50), "written page 3");
		else
			check(!memcmp(private + page * PAGE, shared + (page + 4) * PAGE, PAGE), "page %d", page);
	}
	check(pread(still_open, buffer, PAGE, 2 * PAGE) == (ssize_t)PAGE && !spoiled(buffer, PAGE, 5), "by the descriptor");
	check(!fstat(still_open, &st) && st.st_nlink == 0 && st.st_size == SIZE, "%lu links, %ld bytes", st.st_nlink,
	      st.st_size);
	check(smaps_of(private, maps, sizeof(maps), flags, sizeof(flags)) && strstr(maps, "r--p 00004000") &&
	      strstr(maps, " (deleted)\n") && strstr(maps, case_dir), "mapping: %s", maps);
	check(smaps_of(in_shm, maps, sizeof(maps), flags, sizeof(flags)) && strstr(maps, "rw-s") &&
	      strstr(maps, "/dev/shm/") && strstr(maps, " (deleted)\n"), "mapping: %s", maps);
	must(!sem_post(child_turn));
	check(waitpid(child, &status, 0) == child && status == 0, "child: %x", status);
}
