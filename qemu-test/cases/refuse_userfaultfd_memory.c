/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>

/* While a fault waits for its answer, and another thread for such faults. */
CASE(.what = "memory whose faults a userfaultfd handles is refused, and the faults are handled afterwards",
     .refused = "memory whose faults a userfaultfd handles");

static int fd;
static uint64_t *memory;

static void *handler(void *arg)
{
	static uint64_t page[512];
	struct uffdio_copy copy = { .src = (uint64_t)page, .len = PAGE };
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	struct uffd_msg message;

	(void)arg;
	leave_file("handles");
	await_file("go");
	fill(page, PAGE, 1);
	for (int i = 0; i < 2; i++) {
		if (poll(&ready, 1, PATIENCE_MS) != 1 || read(fd, &message, sizeof(message)) != sizeof(message)) {
			check(false, "no fault comes: %s", strerror(errno));
			_exit(1);
		}
		check(message.event == UFFD_EVENT_PAGEFAULT, "event %x", message.event);
		copy.dst = message.arg.pagefault.address & -PAGE;
		check(!ioctl(fd, UFFDIO_COPY, &copy), "a fault cannot be answered: %s", strerror(errno));
	}
	return NULL;
}

static void *reader(void *arg)
{
	check(!spoiled(memory, PAGE, 1), "what was waited for");
	return arg;
}

static void run(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct pollfd waits = { .events = POLLIN };
	pthread_t handling, reading;

	fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	must(fd >= 0 && !ioctl(fd, UFFDIO_API, &api));
	memory = map(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS);
	range.range.start = (uint64_t)memory;
	range.range.len = 4 * PAGE;
	must(!ioctl(fd, UFFDIO_REGISTER, &range));
	must(!pthread_create(&handling, NULL, handler, NULL));
	must(!pthread_create(&reading, NULL, reader, NULL));
	await_file("handles");
	waits.fd = fd;
	must(poll(&waits, 1, -1) == 1);

	ready();

	check(!spoiled((uint8_t *)memory + PAGE, PAGE, 1), "what comes later");
	must(!pthread_join(reading, NULL) && !pthread_join(handling, NULL));
}
