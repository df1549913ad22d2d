/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <pthread.h>
#include <sys/shm.h>

CASE(.what = "a process whose main thread has ended keeps memory of memfds, deleted files and segments, and its policies");

enum { PAGE = 4096, MPOL_BIND = 2 };

static char *of_memfd, *of_deleted, *of_segment;
static pthread_t second;

/* The mode of the policy of the thread; -1 if the kernel knows of no nodes. */
static int policy(void)
{
	int mode = -1;

	return syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0) ? -1 : mode;
}

static void *bound(void *arg)
{
	unsigned long node = 1;
	int before;

	/* The process had the default. */
	if (syscall(SYS_set_mempolicy, MPOL_BIND, &node, 2) && errno != ENOSYS)
		must(!"set_mempolicy");
	before = policy();
	leave_file("bound");
	await_file("go");
	check(policy() == before, "the policy of the second is %d, not %d", policy(), before);
	return arg;
}

static void *body(void *arg)
{
	int before = policy();

	await_file("bound");
	leave_file("set");
	await_file("go");
	check(policy() == before, "the policy is %d, not %d", policy(), before);
	check(!strcmp(of_memfd, "memfd") && !strcmp(of_memfd + 2 * PAGE, "own"), "%s %s", of_memfd, of_memfd + 2 * PAGE);
	check(!strcmp(of_deleted, "deleted"), "%s", of_deleted);
	check(!strcmp(of_segment, "segment"), "%s", of_segment);
	must(!pthread_join(second, NULL));
	_exit(!!case_failures);
	return arg;
}

static char *map_of(int fd, int flags)
{
	char *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);

	must(at != MAP_FAILED);
	return at;
}

static void run(void)
{
	char path[PATH_MAX];
	int fd, id, status;
	pthread_t thread;
	pid_t child;

	must((child = fork()) >= 0);
	if (!child) {
		must((fd = memfd_create("mapped", 0)) >= 0 && !ftruncate(fd, PAGE));
		of_memfd = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(of_memfd != MAP_FAILED);
		must(mmap(of_memfd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == of_memfd);
		strcpy(of_memfd, "memfd");
		must(mmap(of_memfd + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0) != MAP_FAILED);
		strcpy(of_memfd + 2 * PAGE, "own");
		close(fd);
		snprintf(path, sizeof(path), "%s/deleted", case_dir);
		must((fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600)) >= 0 && !ftruncate(fd, PAGE) && !unlink(path));
		of_deleted = map_of(fd, MAP_SHARED);
		strcpy(of_deleted, "deleted");
		must((id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600)) >= 0);
		of_segment = shmat(id, NULL, 0);
		must(of_segment != (void *)-1 && !shmctl(id, IPC_RMID, NULL));
		strcpy(of_segment, "segment");
		must(!pthread_create(&second, NULL, bound, NULL));
		must(!pthread_create(&thread, NULL, body, NULL));
		/* Not exit_group, which would end all. */
		syscall(SYS_exit, 0);
	}
	await_file("set");
	while (state_of(child, child) != 'Z')
		pause_ms(1);

	ready();

	check(waitpid(child, &status, 0) == child && status == 0, "status %x: %s", status, strerror(errno));
}
