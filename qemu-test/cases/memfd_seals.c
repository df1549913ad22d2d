/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "memfds keep their seals, also those against writing while they are mapped, and their exec mode");

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#define MFD_EXEC 16U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif

enum { ALL = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

static int make(unsigned flags)
{
	int fd = memfd_create("sealed", flags);

	must(fd >= 0 && !ftruncate(fd, 4 * PAGE) && pwrite(fd, "contents", 8, 0) == 8);
	return fd;
}

static uint8_t *map_of(int fd, int prot)
{
	uint8_t *at = mmap(NULL, 4 * PAGE, prot, MAP_SHARED, fd, 0);

	must(at != MAP_FAILED);
	return at;
}

/* A process that leaves the tree keeps one descriptor. */
static void keep_outside(int fd)
{
	int status;
	pid_t parent = fork();

	must(parent >= 0);
	if (!parent) {
		if (!fork()) {
			/* Or it would hold the number of our session. */
			setsid();
			dup2(fd, 3);
			syscall(SYS_close_range, 4U, ~0U, 0U);
			await_file("go");
			_exit(0);
		}
		_exit(0);
	}
	must(waitpid(parent, &status, 0) == parent);
}

static void run(void)
{
	int whole = make(MFD_ALLOW_SEALING), open_end = make(MFD_ALLOW_SEALING), future = make(MFD_ALLOW_SEALING);
	int no_exec = make(MFD_NOEXEC_SEAL), exec = make(MFD_EXEC | MFD_ALLOW_SEALING), reader;
	int exec_sealed = make(MFD_EXEC | MFD_ALLOW_SEALING);
	uint8_t *read_only, *of_reader, *writable, *private;
	char path[64], maps[256], flags[256];
	struct stat st;

	/* Who is outside may have what nobody can change. */
	keep_outside(whole);
	/* Sealed against writing, and mapped nevertheless: by a descriptor for reading, and privately. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", whole);
	reader = open(path, O_RDONLY);
	must(reader >= 0);
	of_reader = map_of(reader, PROT_READ);
	private = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, whole, 0);
	must(private != MAP_FAILED);
	strcpy((char *)private, "mine");
	must(!fcntl(whole, F_ADD_SEALS, ALL));
	/* Since Linux 6.7 also by one for writing. */
	read_only = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, whole, 0);
	must(!fcntl(open_end, F_ADD_SEALS, F_SEAL_GROW));
	/* Whoever has it mapped for writing goes on; nobody else may begin. */
	writable = map_of(future, PROT_READ | PROT_WRITE);
	must(!fcntl(future, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	must(!fcntl(exec_sealed, F_ADD_SEALS, F_SEAL_EXEC));

	ready();

	check(fcntl(whole, F_GET_SEALS) == ALL, "seals %x", fcntl(whole, F_GET_SEALS));
	check(fcntl(open_end, F_GET_SEALS) == F_SEAL_GROW, "seals %x", fcntl(open_end, F_GET_SEALS));
	check(fcntl(future, F_GET_SEALS) == F_SEAL_FUTURE_WRITE, "seals %x", fcntl(future, F_GET_SEALS));
	check(fcntl(no_exec, F_GET_SEALS) == F_SEAL_EXEC, "seals %x", fcntl(no_exec, F_GET_SEALS));
	check(fcntl(exec, F_GET_SEALS) == 0, "seals %x", fcntl(exec, F_GET_SEALS));
	check(fcntl(exec_sealed, F_GET_SEALS) == (F_SEAL_EXEC | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE |
						  F_SEAL_FUTURE_WRITE), "seals %x", fcntl(exec_sealed, F_GET_SEALS));

	check(pwrite(whole, "x", 1, 0) < 0 && errno == EPERM, "it can be written to");
	check(ftruncate(whole, PAGE) && errno == EPERM, "it can be cut");
	check(fcntl(whole, F_ADD_SEALS, F_SEAL_GROW) && errno == EPERM, "it can be sealed");
	check(!memcmp(of_reader, "contents", 8), "contents: %.8s", of_reader);
	check(!strcmp((char *)private, "mine"), "privately: %s", private);
	check(mprotect(of_reader, PAGE, PROT_READ | PROT_WRITE) && errno == EACCES, "it can be made writable");
	if (read_only != MAP_FAILED) {
		check(!memcmp(read_only, "contents", 8), "contents: %.8s", read_only);
		check(mprotect(read_only, PAGE, PROT_READ | PROT_WRITE) && errno == EACCES, "made writable");
	}
	check(smaps_of(of_reader, maps, sizeof(maps), flags, sizeof(flags)) && strstr(maps, " r--s "), "%s", maps);

	check(ftruncate(open_end, 8 * PAGE) && errno == EPERM, "it can grow");
	check(!ftruncate(open_end, 2 * PAGE), "it cannot shrink: %s", strerror(errno));
	check(pwrite(open_end, "new", 3, 0) == 3, "it cannot be written to: %s", strerror(errno));

	strcpy((char *)writable, "more");
	check(pread(future, path, 5, 0) == 5 && !strcmp(path, "more"), "%s", path);
	check(pwrite(future, "x", 1, 0) < 0 && errno == EPERM, "it can be written to");
	check(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, future, 0) == MAP_FAILED && errno == EPERM, "it can be mapped");

	must(!fstat(no_exec, &st));
	check((st.st_mode & 0777) == 0666, "mode %o", st.st_mode);
	check(fchmod(no_exec, 0777) && errno == EPERM, "it can be made executable");
	must(!fstat(exec, &st));
	check((st.st_mode & 0777) == 0777, "mode %o", st.st_mode);
	check(!fchmod(exec, 0666), "%s", strerror(errno));
}
