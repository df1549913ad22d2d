/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "/proc/self/exe, cmdline, environ, auxv and the bounds in stat are as before");

static char before[4][65536], after[4][65536];

static void run(void)
{
	static const char *const files[4] = {
		"/proc/self/cmdline", "/proc/self/environ", "/proc/self/auxv", "/proc/self/stat",
	};
	/* Of stat: code, stack, data, heap, arguments, environment. */
	static const int bounds[] = { 26, 27, 28, 45, 46, 47, 48, 49, 50, 51 };
	char exe_before[PATH_MAX] = "", exe_after[PATH_MAX] = "";
	size_t size[4];

	must(readlink("/proc/self/exe", exe_before, PATH_MAX - 1) > 0);
	for (int i = 0; i < 4; i++)
		size[i] = slurp(files[i], before[i], sizeof(before[i]) - 1);
	must(size[0] && size[2]);

	ready();

	must(readlink("/proc/self/exe", exe_after, PATH_MAX - 1) > 0);
	check(!strcmp(exe_before, exe_after), "exe was %s and is %s", exe_before, exe_after);
	for (int i = 0; i < 3; i++) {
		size_t now = slurp(files[i], after[i], sizeof(after[i]) - 1);

		check(now == size[i] && !memcmp(before[i], after[i], now), "%s: %zu bytes, %zu before", files[i],
		      now, size[i]);
	}
	slurp(files[3], after[3], sizeof(after[3]) - 1);
	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
		char *was = strrchr(before[3], ')'), *is = strrchr(after[3], ')');

		must(was && is);
		for (int field = 2; field < bounds[i]; field++) {
			was = strchr(was + 1, ' ');
			is = strchr(is + 1, ' ');
			must(was && is);
		}
		check(strtoul(was, NULL, 10) == strtoul(is, NULL, 10) && strtoul(is, NULL, 10),
		      "field %d of stat was %lu and is %lu", bounds[i], strtoul(was, NULL, 10),
		      strtoul(is, NULL, 10));
	}
}
