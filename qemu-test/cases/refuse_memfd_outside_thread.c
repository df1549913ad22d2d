/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>

CASE(.what = "a memfd that a process outside has too is refused, though its main thread has ended",
     .refused = "which is not in the tree, has it too (fd/");

static int to_tell;

static void *hold(void *arg)
{
	await_file("go");
	_exit(write(to_tell, "x", 1) != 1);
	return arg;
}

static void run(void)
{
	int fd = memfd_create("shared", 0), fds[2], status;
	pthread_t thread;
	char byte = 0;
	pid_t parent, main_thread;

	must(fd >= 0 && pwrite(fd, "x", 1, 0) == 1 && !pipe(fds));
	must((parent = fork()) >= 0);
	if (!parent) {
		if (!fork()) {
			to_tell = fds[1];
			must(!pthread_create(&thread, NULL, hold, NULL));
			main_thread = getpid();
			must(write(to_tell, &main_thread, sizeof(main_thread)) == sizeof(main_thread));
			/* Not exit_group, which would end both. */
			syscall(SYS_exit, 0);
		}
		_exit(0);
	}
	must(waitpid(parent, &status, 0) == parent);
	must(read(fds[0], &main_thread, sizeof(main_thread)) == sizeof(main_thread));
	close(fds[0]);
	close(fds[1]);
	while (state_of(main_thread, main_thread) != 'Z')
		pause_ms(1);

	ready();
	check(pread(fd, &byte, 1, 0) == 1 && byte == 'x', "%s", strerror(errno));
}
