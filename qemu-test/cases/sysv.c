/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

#include <sys/shm.h>

CASE(.what = "System V segments keep number, key, size, mode, owner, contents, and who has them attached and how");

enum { SIZE = 16 * PAGE, KEY = 0x00c4a5e0 };

static struct shmid_ds look(int id)
{
	struct shmid_ds ds = { 0 };

	must(!shmctl(id, IPC_STAT, &ds));
	return ds;
}

static void *attach(int id, int flags)
{
	void *at = shmat(id, NULL, flags);

	must(at != (void *)-1);
	return at;
}

static void run(void)
{
	int keyed = shmget(KEY + getpid(), SIZE - 100, IPC_CREAT | IPC_EXCL | 0640), private, removed, locked, status;
	uint64_t *shared, *read_only, *gone, *code, *parts, *part, *middle, *only_child = NULL;
	struct shmid_ds of_keyed, of_private, of_removed, now;
	char maps[256], flags[256];
	_Atomic int *turn;
	pid_t child;

	/* Made by another user than its owner. */
	must(!setegid(34) && !seteuid(12));
	private = shmget(IPC_PRIVATE, 2 * SIZE, IPC_CREAT | 0600);
	must(!seteuid(0) && !setegid(0));
	removed = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
	locked = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0604);
	must(keyed >= 0 && private >= 0 && removed >= 0 && locked >= 0);
	of_private = look(private);
	of_private.shm_perm.uid = 56;
	of_private.shm_perm.mode = 0666;
	must(!shmctl(private, IPC_SET, &of_private) && !shmctl(locked, SHM_LOCK, NULL));

	shared = attach(keyed, 0);
	read_only = attach(keyed, SHM_RDONLY);
	gone = attach(removed, 0);
	parts = attach(private, 0);
	fill(shared, PAGE, 1);
	fill(shared + 10 * 512, PAGE, 2);
	fill(parts, 2 * SIZE, 3);
	*gone = 77;
	/* Code, in a segment that was attached for it. */
	code = attach(locked, 0);
	memcpy(code, "\xb8\x2a\0\0\0\xc3", 6);
	must(!shmdt(code));
	code = attach(locked, SHM_EXEC | SHM_RDONLY);
	/* A part is unmapped, a part may not be written, and a part is elsewhere (before there is a hole for it). */
	part = map(NULL, 4 * PAGE, PROT_NONE, ANONYMOUS);
	must(!munmap(parts + 4 * 512, 4 * PAGE) && !mprotect(parts + 16 * 512, 4 * PAGE, PROT_READ));
	middle = mremap(parts + 24 * 512, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, part);
	must(middle == part && !shmctl(removed, IPC_RMID, NULL));
	turn = (_Atomic int *)(gone + 1);

	child = fork();
	must(child >= 0);
	if (!child) {
		must(!shmdt(shared));
		only_child = attach(keyed, 0);
		*turn = 1;
		await_file("go");
		while (*turn != 2)
			pause_ms(1);
		check(!spoiled(only_child + 512, PAGE, 5), "the child does not see what the parent wrote");
		fill(only_child + 2 * 512, PAGE, 6);
		check(*gone == 77 && ((int (*)(void))code)() == 42, "the others in the child");
		check(!shmdt(only_child), "the child cannot detach it");
		*turn = 3;
		_exit(!!case_failures);
	}
	while (*turn != 1)
		pause_ms(1);
	of_keyed = look(keyed);
	of_private = look(private);
	of_removed = look(removed);

	ready();

	now = look(keyed);
	check(now.shm_perm.__key == KEY + getpid() && shmget(KEY + getpid(), 0, 0) == keyed, "key %x",
	      now.shm_perm.__key);
	check(now.shm_segsz == SIZE - 100 && now.shm_perm.mode == 0640, "%zu bytes, mode %o", now.shm_segsz,
	      now.shm_perm.mode);
	check(now.shm_nattch == of_keyed.shm_nattch, "%ld have it attached, and had %ld", now.shm_nattch,
	      of_keyed.shm_nattch);
	check(!spoiled(shared, PAGE, 1) && !spoiled(shared + 10 * 512, PAGE, 2) && !shared[512], "contents");
	check(!memcmp(shared, read_only, SIZE), "the read-only attachment is other memory");
	check(mprotect(read_only, PAGE, PROT_READ | PROT_WRITE) && errno == EACCES, "it can be made writable");
	check(smaps_of(shared, maps, sizeof(maps), flags, sizeof(flags)) && strstr(maps, " rw-s ") &&
	      strstr(maps, "/SYSV"), "%s", maps);

	now = look(private);
	check(now.shm_perm.uid == 56 && now.shm_perm.gid == 34 && now.shm_perm.cuid == 12 && now.shm_perm.cgid == 34,
	      "owner %u:%u, creator %u:%u", now.shm_perm.uid, now.shm_perm.gid, now.shm_perm.cuid, now.shm_perm.cgid);
	check(now.shm_perm.mode == 0666 && now.shm_segsz == 2 * SIZE, "mode %o, %zu bytes", now.shm_perm.mode,
	      now.shm_segsz);
	check(now.shm_nattch == of_private.shm_nattch, "%ld have it attached, and had %ld", now.shm_nattch,
	      of_private.shm_nattch);
	check(parts[100] == pattern(3, 100) && parts[9 * 512] == pattern(3, 9 * 512), "contents of the parts");
	check(msync(parts + 5 * 512, PAGE, MS_ASYNC) && errno == ENOMEM, "what was unmapped is there");
	check(smaps_of(parts + 17 * 512, maps, sizeof(maps), flags, sizeof(flags)) && strstr(maps, " r--s "), "%s", maps);
	check(!mprotect(parts + 16 * 512, PAGE, PROT_READ | PROT_WRITE), "it cannot be made writable");
	check(middle[5] == pattern(3, 24 * 512 + 5), "what was moved");
	middle[5] = 1;
	check(smaps_of(middle, maps, sizeof(maps), flags, sizeof(flags)) && strstr(maps, " 00018000 "), "%s", maps);
	/* It finds all that is where the segment would be, but not what was moved away. The child still has all. */
	check(!shmdt(parts), "%s", strerror(errno));
	now = look(private);
	check(now.shm_nattch == of_private.shm_nattch / 2 + 1, "%ld have it attached", now.shm_nattch);
	check(msync(parts + 28 * 512, PAGE, MS_ASYNC) && errno == ENOMEM, "the last part is still there");

	now = look(removed);
	check(now.shm_perm.mode == (0600 | SHM_DEST) && now.shm_nattch == of_removed.shm_nattch, "mode %o, %ld attached",
	      now.shm_perm.mode, now.shm_nattch);
	check(look(locked).shm_perm.mode == (0604 | SHM_LOCKED), "mode %o", look(locked).shm_perm.mode);
	check(((int (*)(void))code)() == 42, "the code");

	fill(shared + 512, PAGE, 5);
	*turn = 2;
	check(waitpid(child, &status, 0) == child && status == 0 && *turn == 3, "child: %x", status);
	check(!spoiled(shared + 2 * 512, PAGE, 6), "what the child wrote");
	check(look(keyed).shm_nattch == 2, "%ld have it attached", look(keyed).shm_nattch);
	check(!shmdt(gone) && shmctl(removed, IPC_STAT, &now) && errno == EINVAL, "it has not gone with the last");
	must(!shmctl(keyed, IPC_RMID, NULL) && !shmctl(private, IPC_RMID, NULL) && !shmctl(locked, IPC_RMID, NULL));
	/* The number for the next segment is not left behind. */
	removed = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
	check(removed >= 0 && removed != keyed && removed != private && removed != locked, "number %d", removed);
	shmctl(removed, IPC_RMID, NULL);
}
