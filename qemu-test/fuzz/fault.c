// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Allocations that fail, and copies from and to user space: fail-nth of the
 * kernel's fault injection, for the calling thread alone.
 */
#include "fuzz.h"

bool faults_work;

static __thread int file = -1;
static __thread bool armed;

static void write_to(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, value, strlen(value)) < 0)
		say("%s cannot be written: %s", path, strerror(errno));
	close(fd);
}

void fault_probe(void)
{
	static const char *const kinds[] = { "failslab", "fail_page_alloc", "fail_usercopy" };
	char path[100];

	faults_work = !access("/proc/thread-self/fail-nth", W_OK);
	if (!faults_work)
		return;
	/* Those that may wait fail too, and quietly. */
	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/ignore-gfp-wait", kinds[i]);
		write_to(path, "N");
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/ignore-gfp-highmem", kinds[i]);
		write_to(path, "N");
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/cache-filter", kinds[i]);
		write_to(path, "N");
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/min-order", kinds[i]);
		write_to(path, "0");
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/verbose", kinds[i]);
		write_to(path, "0");
	}
}

void fault_begin(void)
{
	file = faults_work ? open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC) : -1;
	/* Not in a user namespace. */
	if (file >= 0 && pwrite(file, "0", 1, 0) != 1) {
		close(file);
		file = -1;
	}
}

void fault_arm(unsigned int nth)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", nth);

	if (file < 0)
		return;
	armed = true;
	if (pwrite(file, text, n, 0) != n)
		say("fail-nth: %s", strerror(errno));
}

bool fault_is_armed(void)
{
	return armed;
}

bool fault_disarm(void)
{
	char text[16] = "";
	bool happened;

	if (file < 0)
		return false;
	armed = false;
	/* If it is these calls that fail, the one before has not. */
	happened = pread(file, text, sizeof(text) - 1, 0) > 0 && !atoi(text);
	while (pwrite(file, "0", 1, 0) != 1)
		happened = false;
	if (happened)
		atomic_fetch_add(&shared->injected, 1);
	return happened;
}
