// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Places for a structure or a buffer: good ones, bad ones, such that end with a
 * page, and pages whose content comes late, or never, or changes.
 */
#include <linux/userfaultfd.h>
#include <poll.h>

#include "fuzz.h"

#define PAGE	4096UL

static size_t pages(size_t size)
{
	return (size + PAGE - 1) / PAGE * PAGE;
}

struct place place_make(size_t size, size_t align)
{
	size_t room = pages(size) + PAGE;
	struct place place = { .readable = true, .writable = true, .mapped = room + PAGE };
	uint8_t *end;

	place.base = mmap(NULL, place.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	if (place.base == MAP_FAILED)
		exit(1);
	end = (uint8_t *)place.base + room;
	munmap(end, PAGE);
	place.mapped = room;
	place.at = end - (size + align - 1) / align * align;
	switch (below(12)) {
	case 0:
		place.at = NULL;
		place.nowhere = true;
		break;
	case 1:
		place.nowhere = true;
		place.at = (void *)PICK(0xffff888000000000UL, 0xffffffff81000000UL, 0x0000800000000000UL,
					0x00007ffffffff000UL, UINTPTR_MAX - 7, 0x0000100000000000UL);
		break;
	case 2:
		/* Its end is not mapped. */
		place.at = end - (size > 1 ? 1 + below(size - 1) : 0);
		break;
	case 3:
		mprotect(place.base, room, PROT_READ);
		place.writable = false;
		place.nowhere = true;
		return place;
	case 4:
		place.nowhere = true;
		mprotect(place.base, room, PROT_NONE);
		break;
	case 5:
		/* Not aligned. */
		place.at = (uint8_t *)place.at - 1 - below(7);
		return place;
	case 6:
		/* Begins in one page, which is there, and ends in another, which may only be read. */
		if (pages(size) > PAGE || size < 2)
			return place;
		place.at = end - PAGE - size / 2;
		mprotect(end - PAGE, PAGE, PROT_READ);
		place.writable = false;
		return place;
	default:
		return place;
	}
	place.readable = place.writable = false;
	return place;
}

void place_free(struct place *place)
{
	munmap(place->base, place->mapped);
}

/* ---- Pages that a thread fills when they are touched ---- */

struct slow_page {
	int fd, stop[2];
	uint8_t *at;
	uint8_t content[2 * PAGE];
	enum slow mode;
	_Atomic bool hit;
	pthread_t thread;
};

static void fill(struct slow_page *page, uint64_t address)
{
	uint64_t offset = (address & ~(PAGE - 1)) - (uintptr_t)page->at;
	struct uffdio_copy copy = {
		.dst = (uintptr_t)page->at + offset,
		.src = (uintptr_t)page->content + offset,
		.len = PAGE,
	};

	ioctl(page->fd, UFFDIO_COPY, &copy);
}

static void *handle(void *arg)
{
	struct slow_page *page = arg;
	struct pollfd polls[2] = { { page->fd, POLLIN, 0 }, { page->stop[0], POLLIN, 0 } };
	uint64_t kept[2] = { 0, 0 };
	struct uffd_msg msg;

	while (poll(polls, 2, -1) > 0 && !polls[1].revents) {
		if (read(page->fd, &msg, sizeof(msg)) != sizeof(msg) ||
		    msg.event != UFFD_EVENT_PAGEFAULT)
			continue;
		page->hit = true;
		if (page->mode == SLOW_NEVER) {
			kept[kept[0] != 0] = msg.arg.pagefault.address;
			continue;
		}
		sleep_us(5000 + (unsigned int)(msg.arg.pagefault.address >> 12) % 20000);
		if (page->mode == SLOW_CHANGE)
			for (unsigned int i = 64; i < sizeof(page->content); i += 61)
				page->content[i] ^= 0x5a;
		fill(page, msg.arg.pagefault.address);
	}
	/* Who waits for one that never came goes on now. */
	for (unsigned int i = 0; i < 2; i++)
		if (kept[i])
			fill(page, kept[i]);
	return NULL;
}

/* Two pages; what is at @offset is @content. */
struct slow_page *slow_page_make(enum slow mode, const void *content, size_t size, size_t offset)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct slow_page *page = calloc(1, sizeof(*page));

	if (!page)
		return NULL;
	page->mode = mode;
	memcpy(page->content + offset, content, size);
	page->fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	page->at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = (uintptr_t)page->at;
	reg.range.len = 2 * PAGE;
	if (page->fd < 0 || page->at == MAP_FAILED || pipe2(page->stop, O_CLOEXEC) ||
	    ioctl(page->fd, UFFDIO_API, &api) || ioctl(page->fd, UFFDIO_REGISTER, &reg) ||
	    pthread_create(&page->thread, NULL, handle, page)) {
		if (page->fd >= 0)
			close(page->fd);
		free(page);
		return NULL;
	}
	return page;
}

void *slow_page_at(struct slow_page *page)
{
	return page->at;
}

bool slow_page_was_hit(struct slow_page *page)
{
	return page->hit;
}

void slow_page_free(struct slow_page *page)
{
	close(page->stop[1]);
	pthread_join(page->thread, NULL);
	close(page->stop[0]);
	close(page->fd);
	munmap(page->at, 2 * PAGE);
	free(page);
}
