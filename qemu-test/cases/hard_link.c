/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <semaphore.h>

/* Once: the value of the semaphore is not in the image, and its name goes. */
CASE(.what = "a file that was made under another name is found by the one that it has now, as a named semaphore",
     .once = true);

static void run(void)
{
	char path[PATH_MAX], other[PATH_MAX + 8], name[32], byte = 0;
	struct stat st, now;
	sem_t *semaphore;
	int fd, value = 0;

	snprintf(path, sizeof(path), "%s/temporary", case_dir);
	snprintf(other, sizeof(other), "%s/name", case_dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	must(fd >= 0 && pwrite(fd, "x", 1, 0) == 1 && !link(path, other) && !unlink(path) && !fstat(fd, &st));
	/* glibc makes the file of a semaphore under another name. */
	snprintf(name, sizeof(name), "/crust-case-%d", getpid());
	semaphore = sem_open(name, O_CREAT | O_EXCL, 0600, 3);
	must(semaphore != SEM_FAILED);

	ready();
	check(pread(fd, &byte, 1, 0) == 1 && byte == 'x', "it reads %d", byte);
	check(!fstat(fd, &now) && now.st_ino == st.st_ino && now.st_nlink == 1, "it is another file");
	check(sem_wait(semaphore) == 0 && sem_getvalue(semaphore, &value) == 0 && value == 2, "value %d", value);
	sem_close(semaphore);
	semaphore = sem_open(name, 0);
	check(semaphore != SEM_FAILED && sem_getvalue(semaphore, &value) == 0 && value == 2, "value %d by its name", value);
	sem_unlink(name);
}
