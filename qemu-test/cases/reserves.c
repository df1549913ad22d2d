/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"
#include "smaps.h"

CASE(.what = "terabytes of reserved address space take no room in an image, and the few pages in them little",
     .drives_itself = true);

enum { RESERVES = 24, TOUCHED = 16 };
static const size_t tera = 1ul << 40;

/* The program that is dumped: 24 TiB as sanitizers, garbage collectors and databases reserve them. */
static void reserve(void)
{
	static const int protections[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };
	uint8_t *at[RESERVES];

	for (int i = 0; i < RESERVES; i++) {
		at[i] = map(NULL, tera, protections[i % 3], ANONYMOUS | MAP_NORESERVE);
		must(!madvise(at[i], tera, MADV_NOHUGEPAGE));
		for (size_t n = 0; n < TOUCHED; n++) {
			uint8_t *page = at[i] + n * (tera / TOUCHED) + i * PAGE;

			must(!mprotect(page, PAGE, PROT_READ | PROT_WRITE));
			fill(page, PAGE, i * TOUCHED + n);
		}
	}
	leave_file("reserved");
	await_file("go");
	for (int i = 0; i < RESERVES; i++)
		for (size_t n = 0; n < TOUCHED; n++) {
			uint8_t *page = at[i] + n * (tera / TOUCHED) + i * PAGE;

			check(!spoiled(page, PAGE, i * TOUCHED + n), "reserve %d, page %zu", i, n);
			check(mmap(page + PAGE, PAGE, PROT_READ, ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED,
			      "reserve %d is not reserved", i);
		}
	_exit(!!case_failures);
}

static void run(void)
{
	char number[16], image[PATH_MAX + 16];
	const char *to = images();
	struct stat st;
	int end, status;
	pid_t pid;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		setsid();
		reserve();
	}
	await_file("reserved");
	snprintf(number, sizeof(number), "%d", pid);
	snprintf(image, sizeof(image), "%s/crust.img", to);
	end = tool_end(tool("dump", "--tree", number, "--images-dir", to, "--leave-running"));
	check(end == 0, "dump: %d: %s", end, tool_said());
	must(!stat(image, &st));
	/* Its own pages and those of its libraries are less than a mebibyte. */
	check(st.st_size < (off_t)(RESERVES * TOUCHED * PAGE + (1 << 20)), "the image has %lld bytes",
	      (long long)st.st_size);
	kill(pid, SIGKILL);
	must(waitpid(pid, &status, 0) == pid);
	end = tool_end(tool("restore", "--images-dir", to, "--restore-detached"));
	check(end == 0, "restore: %d: %s", end, tool_said());
	leave_file("go");
	check(waitpid(pid, &status, 0) == pid && !status, "the restored program: %x", status);
}
