/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "program.h"

CASE(.what = "processes that share a table of descriptors keep the memfds that they have mapped, and the one that they run");

enum { PAGE = 4096, SHARERS = 6 };

static const char program[] = "/memfd:program (deleted)";

/* The numbers of the descriptors that the processes have made, and behind them whether the first has written to these; in
 * memory that they share. */
static _Atomic int *kept;

static uint8_t *map_of(int fd, int flags)
{
	uint8_t *at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);

	must(at != MAP_FAILED);
	return at;
}

static int sharer(int number)
{
	int own = memfd_create("own", MFD_CLOEXEC), open = memfd_create("open", 0);
	uint8_t *shared, *private, *of_open;
	char exe[PATH_MAX] = "";

	must(own >= 0 && open >= 0 && !ftruncate(own, 2 * PAGE) && !ftruncate(open, 2 * PAGE));
	shared = map_of(own, MAP_SHARED);
	private = map_of(own, MAP_PRIVATE);
	of_open = map_of(open, MAP_SHARED);
	shared[PAGE + 7] = 'a' + number;
	private[3] = 'A' + number;
	of_open[0] = '0' + number;
	close(own);
	kept[number] = open;
	while (!kept[SHARERS])
		pause_ms(1);
	check(shared[PAGE + 7] == 'a' + number && !shared[3], "%d: %c %d", number, shared[PAGE + 7], shared[3]);
	check(private[3] == 'A' + number && private[PAGE + 7] == 'a' + number, "%d: %c %c", number, private[3],
	      private[PAGE + 7]);
	shared[PAGE + 8] = '!';
	check(private[PAGE + 8] == '!', "%d: the private mapping is of another file", number);
	check(of_open[0] == '0' + number && of_open[1] == 'x', "%d: %c %c", number, of_open[0], of_open[1]);
	must(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	check(!strcmp(exe, program), "%d runs %s", number, exe);
	return !!case_failures;
}

static void run(void)
{
	pid_t pids[SHARERS];
	char exe[PATH_MAX] = "", c;
	int status;

	must(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	if (strcmp(exe, program))
		/* Of the memfd there is no descriptor then. */
		run_program(program_in_memfd());
	kept = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(kept != MAP_FAILED);
	for (int i = 0; i < SHARERS; i++) {
		/* As fork, but for the table. */
		pids[i] = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
		must(pids[i] >= 0);
		if (!pids[i])
			_exit(sharer(i));
	}
	for (int i = 0; i < SHARERS; i++)
		while (!kept[i])
			pause_ms(1);

	ready();

	for (int i = 0; i < SHARERS; i++) {
		check(pread(kept[i], &c, 1, 0) == 1 && c == '0' + i, "of %d: %c", i, c);
		check(pwrite(kept[i], "x", 1, 1) == 1, "of %d: %s", i, strerror(errno));
	}
	must(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	check(!strcmp(exe, program), "it runs %s", exe);
	kept[SHARERS] = 1;
	for (int i = 0; i < SHARERS; i++)
		check(waitpid(pids[i], &status, 0) == pids[i] && status == 0, "%d: status %x", i, status);
}
