/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* An io_uring without a library, as event loops drive it: one thread, everything is waited for at once. */
#ifndef URING_H
#define URING_H

#include "case.h"
#include <linux/io_uring.h>

/* linux/io_uring.h of some distributions is older than the kernel. */
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif

struct ring {
	int fd;
	unsigned mask, cq_mask;
	volatile unsigned *sq_head, *sq_tail, *cq_head, *cq_tail, *array;
	struct io_uring_sqe *entries;
	struct io_uring_cqe *completions;
};

static void __attribute__((unused)) make_ring(struct ring *r, unsigned entries, unsigned flags)
{
	struct io_uring_params p = { .flags = flags };
	size_t queue, room;
	char *rings;

	r->fd = syscall(SYS_io_uring_setup, entries, &p);
	if (r->fd < 0 && (errno == ENOSYS || errno == EPERM))
		skip("the kernel has no io_uring");
	if (r->fd < 0 && errno == EINVAL && flags)
		skip("the kernel does not know these flags of io_uring");
	must(r->fd >= 0 && p.features & IORING_FEAT_SINGLE_MMAP);
	queue = flags & IORING_SETUP_NO_SQARRAY ? 0 : p.sq_off.array + p.sq_entries * sizeof(unsigned);
	room = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	rings = mmap(NULL, queue > room ? queue : room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd,
		     IORING_OFF_SQ_RING);
	must(rings != MAP_FAILED);
	r->entries = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
	must(r->entries != MAP_FAILED);
	r->mask = p.sq_entries - 1;
	r->cq_mask = p.cq_entries - 1;
	r->sq_head = (unsigned *)(rings + p.sq_off.head);
	r->sq_tail = (unsigned *)(rings + p.sq_off.tail);
	r->cq_head = (unsigned *)(rings + p.cq_off.head);
	r->cq_tail = (unsigned *)(rings + p.cq_off.tail);
	r->completions = (struct io_uring_cqe *)(rings + p.cq_off.cqes);
	r->array = queue ? (unsigned *)(rings + p.sq_off.array) : NULL;
	for (unsigned i = 0; r->array && i <= r->mask; i++)
		r->array[i] = i;
}

/* The next entry; the kernel sees it when it is told. */
static inline struct io_uring_sqe *next_entry(struct ring *r)
{
	unsigned tail = *r->sq_tail;

	__atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
	return &r->entries[tail & r->mask];
}

static int __attribute__((unused)) submit(struct ring *r, unsigned count, unsigned wait)
{
	return syscall(SYS_io_uring_enter, r->fd, count, wait, wait ? IORING_ENTER_GETEVENTS : 0, NULL, 0);
}

/* The first completion that was not read, or NULL. */
static struct io_uring_cqe __attribute__((unused)) *completion(struct ring *r)
{
	unsigned head = *r->cq_head;

	if (head == __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE))
		return NULL;
	return &r->completions[head & r->cq_mask];
}

static void __attribute__((unused)) completion_read(struct ring *r)
{
	__atomic_store_n(r->cq_head, *r->cq_head + 1, __ATOMIC_RELEASE);
}

#endif
