/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"
#include "smaps.h"

CASE(.what = "a program that has unmapped its vDSO is carried over with the module, and refused without",
     .drives_itself = true);

/* Of /proc/self/maps. */
static bool has_vdso(unsigned long parts[8][2])
{
	static char text[1 << 16];
	char *line, *save;
	int n = 0;

	text[slurp("/proc/self/maps", text, sizeof(text) - 1)] = 0;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if ((strstr(line, "[vvar") || strstr(line, "[vdso]")) && n < 7)
			must(sscanf(line, "%lx-%lx", &parts[n][0], &parts[n][1]) == 2 && ++n);
	parts[n][1] = 0;
	return n > 0;
}

static void program(void)
{
	unsigned long parts[8][2];
	uint64_t *memory = map(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS);

	setsid();
	has_vdso(parts);
	for (int i = 0; parts[i][1]; i++)
		must(!munmap((void *)parts[i][0], parts[i][1] - parts[i][0]));
	must(!has_vdso(parts));
	fill(memory, 16 * PAGE, 1);
	leave_file("unmapped");
	await_file("go");
	check(!has_vdso(parts), "it has a vDSO now");
	check(!spoiled(memory, 16 * PAGE, 1), "contents");
	_exit(!!case_failures);
}

static void run(void)
{
	const char *to = images();
	char number[16];
	int end, status;
	pid_t pid;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	pid = fork();
	must(pid >= 0);
	if (!pid)
		program();
	await_file("unmapped");
	snprintf(number, sizeof(number), "%d", pid);
	end = tool_end(tool("dump", "--backend", "mainline", "--tree", number, "--images-dir", to));
	check(end == 3, "dump without the module: %d: %s", end, tool_said());
	check(strstr(tool_said(), "vDSO") && strstr(tool_said(), "load its module"), "the refusal says %s", tool_said());
	if (!access("/dev/ckpt", F_OK)) {
		/* It cannot be made to fork either. */
		end = tool_end(tool("dump", "--leave-running", "--tree", number, "--images-dir", to));
		check(end == 0, "dump with the module: %d: %s", end, tool_said());
		kill(pid, SIGKILL);
		must(waitpid(pid, &status, 0) == pid);
		end = tool_end(tool("restore", "--images-dir", to, "--restore-detached"));
		check(end == 0, "restore: %d: %s", end, tool_said());
	}
	leave_file("go");
	check(waitpid(pid, &status, 0) == pid && !status, "the program: %x", status);
}
