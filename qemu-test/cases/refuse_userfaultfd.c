/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

CASE(.what = "a userfaultfd is refused, also if it handles no memory", .refused = "a userfaultfd: the faults that wait");

static void run(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	must(fd >= 0 && !ioctl(fd, UFFDIO_API, &api));
	ready();
}
