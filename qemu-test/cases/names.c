/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/personality.h>

CASE(.what = "name, personality and settings of prctl and /proc/self are kept");

static void get(const char *file, char *text, size_t size)
{
	int fd = open(file, O_RDONLY);
	ssize_t n;

	must(fd >= 0);
	n = read(fd, text, size - 1);
	must(n > 0);
	text[n] = 0;
	close(fd);
}

static void put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY);

	must(fd >= 0);
	must(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void run(void)
{
	static const char odd[] = "a) (b\nc%";
	char name[16], text[64];
	bool flusher;

	must(!prctl(PR_SET_NAME, odd));
	must(personality(ADDR_NO_RANDOMIZE | UNAME26) != -1);
	must(!prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	must(!prctl(PR_SET_DUMPABLE, 0));
	must(!prctl(PR_SET_DUMPABLE, 1));
	must(!prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
	/* It needs CAP_SYS_RESOURCE. */
	flusher = !prctl(57 /* PR_SET_IO_FLUSHER */, 1, 0, 0, 0);
	put("/proc/self/oom_score_adj", "321");
	put("/proc/self/coredump_filter", "0x7");
	ready();
	must(!prctl(PR_GET_NAME, name));
	check(!strcmp(name, odd), "name is %s", name);
	check(personality(0xffffffff) == (ADDR_NO_RANDOMIZE | UNAME26), "personality %x",
	      personality(0xffffffff));
	check(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1, "huge pages");
	check(prctl(PR_GET_DUMPABLE) == 1, "dumpable %d", prctl(PR_GET_DUMPABLE));
	check(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0) == PR_MCE_KILL_EARLY, "memory errors");
	check(!flusher || prctl(58 /* PR_GET_IO_FLUSHER */, 0, 0, 0, 0) == 1, "I/O flusher");
	get("/proc/self/oom_score_adj", text, sizeof(text));
	check(atoi(text) == 321, "oom_score_adj %s", text);
	get("/proc/self/coredump_filter", text, sizeof(text));
	check(strtol(text, NULL, 16) == 7, "coredump_filter %s", text);
}
