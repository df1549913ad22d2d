/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"

/*
 * There is one kernel here, so it is the image that is changed: of another
 * kernel it would have another sum of the vDSO's code, and be as whole.
 */
CASE(.what = "an image of a kernel with another vDSO is not restored, and nothing is made; one of this kernel is",
     .drives_itself = true);

static uint8_t bytes[4 << 20];

static uint32_t crc32(const uint8_t *at, size_t length, uint32_t sum)
{
	sum = ~sum;
	while (length--) {
		sum ^= *at++;
		for (int bit = 0; bit < 8; bit++)
			sum = sum >> 1 ^ (sum & 1 ? 0xedb88320 : 0);
	}
	return ~sum;
}

static uint64_t number(size_t at, size_t size)
{
	uint64_t n = 0;

	memcpy(&n, bytes + at, size);
	return n;
}

/* Changes a bit of the sum of the vDSO, and makes the frame around it whole again (docs/format.md). */
static void change(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC), changed = 0;
	ssize_t size = read(fd, bytes, sizeof(bytes));
	size_t at, length;
	uint32_t sum;

	must(fd >= 0 && size > 4096 && size < (ssize_t)sizeof(bytes));
	for (at = number(24, 8); at < (size_t)size; at += 20 + length) {
		uint8_t *name;

		length = number(at + 12, 4);
		must(at + 20 + length <= (size_t)size);
		if (number(at, 2) != 0x0214)
			continue;
		name = memmem(bytes + at + 20, length, "[vdso]", 6);
		/* The sum is a number of eight bytes, which 253 says. */
		must(name && name[6] == 253);
		name[7] ^= 1;
		sum = crc32(bytes + at, 16, 0);
		sum = crc32(bytes + at + 20, length, sum);
		memcpy(bytes + at + 16, &sum, 4);
		changed++;
	}
	must(changed == 1 && pwrite(fd, bytes, size, 0) == size);
	close(fd);
}

static void run(void)
{
	struct adder adder = adder_start(0);
	const char *to = images();
	char image[PATH_MAX + 16];
	int end;

	snprintf(image, sizeof(image), "%s/crust.img", to);
	adder_dump(&adder, to);
	change(image);
	end = tool_end(tool("restore", "--restore-detached", image));
	check(end == 4, "restore of an image with another vDSO: %d: %s", end, tool_said());
	check(strstr(tool_said(), "vDSO"), "the conflict does not name it: %s", tool_said());
	check(kill(adder.pid, 0) && errno == ESRCH, "something was made");
	change(image);
	end = tool_end(tool("restore", "--restore-detached", image));
	check(end == 0, "restore of the image as it was: %d: %s", end, tool_said());
	check(adder_works(&adder), "the restored program does not run");
	adder_stop(&adder);
}
