/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "steps.h"

CASE(.what = "a program on its way back from a call for a killed tool can be dumped and restored there",
     .drives_itself = true);

struct shared {
	volatile int in_handler, go;
};

static struct shared *shared;
static pid_t program;

/* Runs on top of the way back, if the tool is killed where there is one. */
static void linger(int signal)
{
	(void)signal;
	shared->in_handler = 1;
	while (!shared->go)
		pause_ms(1);
}

static void start(void)
{
	struct sigaction act = { .sa_handler = linger };

	shared = map_in_case("shared", sizeof(*shared));
	program = fork();
	must(program >= 0);
	if (!program) {
		sigset_t none, now;

		setsid();
		must(!sigaction(SIGUSR2, &act, NULL));
		check(pause() == -1 && errno == EINTR, "pause: %s", strerror(errno));
		sigemptyset(&none);
		must(!sigprocmask(SIG_SETMASK, NULL, &now));
		check(!memcmp(&none, &now, 8), "blocked signals");
		_exit(case_failures);
	}
	await_call(program, SYS_pause);
}

static void disturb(void)
{
	kill(program, SIGUSR2);
}

static void run(void)
{
	const char *to = images();
	bool killed = true;
	int end = 0;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	for (int at = 0; killed && !case_failures; at += 3) {
		char number[16];
		int status;

		start();
		snprintf(number, sizeof(number), "%d", program);
		killed = tool_killed_at(at, disturb, &end,
					(const char *const[]){ "dump", "--leave-running", "--tree", number,
							       "--images-dir", to, NULL });
		if (!killed)
			disturb();
		check(within_patience(shared->in_handler), "%s: no handler runs", killed_at);
		images();
		status = await_dump(tool("dump", "--tree", number, "--images-dir", to), program, &end);
		check(!status, "%s: dump: status %#x: %s", killed_at, status, tool_said());
		if (status)
			return;
		/* The copy of its memory, if there was one, has to end: who adopts orphans waits for them. */
		while (waitpid(-1, NULL, __WALL) > 0)
			;
		end = tool_end(tool("restore", "--restore-detached", "--images-dir", to));
		check(!end, "%s: restore: %d: %s", killed_at, end, tool_said());
		shared->go = 1;
		must(waitpid(program, &status, 0) == program);
		check(!status, "%s: status %#x", killed_at, status);
		munmap(shared, sizeof(*shared));
	}
}
