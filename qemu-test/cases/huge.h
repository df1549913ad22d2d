/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Huge pages for a case: the kernel is given as many as it needs, and keeps them. Include after case.h. */
#ifndef HUGE_H
#define HUGE_H

#define HUGE (2ul << 20)
#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static inline long pool(const char *name)
{
	char path[128], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), POOL "%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	must(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return atol(text);
}

/* Sees to it that so many are free. False if this kernel has no huge pages. */
static inline bool huge_pages(long wanted)
{
	char text[32];
	long lacking;
	int fd;

	if (pool("nr_hugepages") < 0)
		return false;
	lacking = wanted - (pool("free_hugepages") - pool("resv_hugepages"));
	if (lacking > 0) {
		fd = open(POOL "nr_hugepages", O_WRONLY | O_CLOEXEC);
		must(fd >= 0);
		snprintf(text, sizeof(text), "%ld", pool("nr_hugepages") + lacking);
		must(write(fd, text, strlen(text)) > 0);
		close(fd);
	}
	must(pool("free_hugepages") - pool("resv_hugepages") >= wanted);
	return true;
}

#endif
