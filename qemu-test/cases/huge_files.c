/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"
#include "huge.h"

#include <sys/mount.h>
#include <sys/shm.h>

CASE(.what = "memfds, System V segments, and files of hugetlbfs keep their huge pages", .once = true);

static bool is_huge(const void *at, const char *name)
{
	char maps[PATH_MAX + 256], flags[256];

	return smaps_of(at, maps, sizeof(maps), flags, sizeof(flags)) && strstr(flags, " ht ") && strstr(maps, name);
}

static uint8_t *map_of(int fd, int prot, int flags, off_t offset, size_t size)
{
	uint8_t *at = mmap(NULL, size, prot, flags, fd, offset);

	must(at != MAP_FAILED);
	return at;
}

static int file(const char *directory, const char *name)
{
	char path[PATH_MAX + 16];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(fd >= 0 && !ftruncate(fd, 2 * HUGE));
	return fd;
}

static void run(void)
{
	int fd, empty, sealed, id, named_fd, ghost_fd, status;
	uint8_t *shared, *private, *attached, *named, *named_private, *ghost;
	char directory[PATH_MAX], path[PATH_MAX + 16];
	struct shmid_ds ds;
	struct stat st;
	pid_t child;

	if (!huge_pages(16)) {
		ready();
		return;
	}
	snprintf(directory, sizeof(directory), "%s/huge", case_dir);
	must((!mkdir(directory, 0700) || errno == EEXIST) && !mount("huge", directory, "hugetlbfs", 0, "pagesize=2M"));

	fd = memfd_create("huge", MFD_HUGETLB | MFD_ALLOW_SEALING);
	empty = memfd_create("empty", MFD_HUGETLB);
	must(fd >= 0 && empty >= 0 && !ftruncate(fd, 3 * HUGE) && !ftruncate(empty, 100 * HUGE));
	shared = map_of(fd, PROT_READ | PROT_WRITE, MAP_SHARED, HUGE, 2 * HUGE);
	fill(shared + HUGE, HUGE, 1);
	private = map_of(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE, HUGE, 2 * HUGE);
	fill(private, PAGE, 2);
	sealed = memfd_create("sealed", MFD_HUGETLB | MFD_ALLOW_SEALING);
	must(sealed >= 0 && !ftruncate(sealed, HUGE) && !fcntl(sealed, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_WRITE));

	id = shmget(IPC_PRIVATE, HUGE, IPC_CREAT | SHM_HUGETLB | 0600);
	must(id >= 0);
	attached = shmat(id, NULL, 0);
	must(attached != (void *)-1 && !shmctl(id, IPC_RMID, NULL));
	fill(attached + 10 * PAGE, PAGE, 3);

	named_fd = file(directory, "named");
	named = map_of(named_fd, PROT_READ | PROT_WRITE, MAP_SHARED, 0, 2 * HUGE);
	named_private = map_of(named_fd, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0, 2 * HUGE);
	fill(named, 2 * HUGE, 4);
	fill(named_private + HUGE, PAGE, 5);
	close(named_fd);
	ghost_fd = file(directory, "ghost");
	ghost = map_of(ghost_fd, PROT_READ | PROT_WRITE, MAP_SHARED, 0, 2 * HUGE);
	fill(ghost + HUGE, PAGE, 6);
	snprintf(path, sizeof(path), "%s/ghost", directory);
	must(!unlink(path));
	close(ghost_fd);

	child = fork();
	must(child >= 0);
	if (!child) {
		await_file("go");
		check(!spoiled(shared + HUGE, HUGE, 1) && !spoiled(ghost + HUGE, PAGE, 6), "shared memory in the child");
		check(!spoiled(private, PAGE, 2), "private memory in the child");
		fill(attached, PAGE, 7);
		_exit(!!case_failures);
	}

	ready();

	check(waitpid(child, &status, 0) == child && status == 0, "child: %x", status);
	check(is_huge(shared, "/memfd:huge (deleted)") && is_huge(private, "/memfd:huge") && is_huge(attached, "/SYSV") &&
	      is_huge(named, "/huge/named") && is_huge(ghost, "/huge/"), "pages");
	check(!spoiled(shared + HUGE, HUGE, 1) && !shared[0], "memfd, shared");
	check(!spoiled(private, PAGE, 2) && private[HUGE] == shared[HUGE], "memfd, private");
	check(!fstat(fd, &st) && st.st_size == 3 * HUGE && st.st_blksize == HUGE, "%ld bytes", st.st_size);
	check(!fstat(empty, &st) && st.st_size == 100 * HUGE && st.st_blocks == 0, "%ld blocks", st.st_blocks);
	check(fcntl(sealed, F_GET_SEALS) == (F_SEAL_GROW | F_SEAL_WRITE), "seals %x", fcntl(sealed, F_GET_SEALS));
	check(!spoiled(attached + 10 * PAGE, PAGE, 3) && !spoiled(attached, PAGE, 7), "segment");
	check(!shmctl(id, IPC_STAT, &ds) && ds.shm_nattch == 1 && ds.shm_perm.mode & SHM_DEST, "%s", strerror(errno));
	check(!spoiled(named, 2 * HUGE, 4), "file, shared");
	check(!spoiled(named_private + HUGE, PAGE, 5) && !memcmp(named, named_private, HUGE), "file, private");
	check(!spoiled(ghost + HUGE, PAGE, 6) && !ghost[0], "deleted file");
	snprintf(path, sizeof(path), "%s/named", directory);
	unlink(path);
	umount2(directory, MNT_DETACH);
}
