/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

CASE(.what = "a userfaultfd is refused, also if it handles no memory", .refused = "a userfaultfd: the faults that wait");

static void run(void)
{
	struct uffdio_register all = { .range.len = 4096, .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	void *memory;

	must(fd >= 0 && !ioctl(fd, UFFDIO_API, &api));
	ready();
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(memory != MAP_FAILED);
	all.range.start = (unsigned long)memory;
	check(!ioctl(fd, UFFDIO_REGISTER, &all), "it takes no memory: %s", strerror(errno));
}
