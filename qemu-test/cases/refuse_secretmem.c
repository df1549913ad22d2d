/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

CASE(.what = "secret memory is refused, mapped and open", .refused = "which not even the kernel can read");

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

static void run(void)
{
	int fd = syscall(SYS_memfd_secret, O_CLOEXEC);
	char *at;

	must(fd >= 0 && !ftruncate(fd, 4096));
	at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(at != MAP_FAILED);
	strcpy(at, "secret");

	ready();
	check(!strcmp(at, "secret"), "%s", at);
}
