/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "steps.h"

CASE(.what = "a root that wants a signal when its parent ends gets none because the tool ends, unless that waits for it",
     .drives_itself = true);

struct state {
	volatile long ticks;
	volatile int signals, death;
};

static struct state *state;
static pid_t program;

static void note(int signal)
{
	(void)signal;
	state->signals++;
}

static void start(void)
{
	state = map_in_case("state", sizeof(*state));
	program = fork();
	must(program >= 0);
	if (!program) {
		setsid();
		signal(SIGUSR1, note);
		must(!prctl(PR_SET_PDEATHSIG, SIGUSR1));
		for (;;) {
			prctl(PR_GET_PDEATHSIG, &state->death);
			state->ticks++;
			pause_ms(1);
		}
	}
}

/* It has come round since. */
static bool runs(void)
{
	long ticks = state->ticks;

	return within_patience(state->ticks > ticks + 1);
}

static void dump(const char *to)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", program);
	tool_dumps(tool("dump", "--tree", number, "--images-dir", to), program);
}

static void run(void)
{
	const char *to = images();
	pid_t pid;
	int end;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	start();
	check(runs() && state->death == SIGUSR1, "before: %d", state->death);
	dump(to);
	pid = tool("restore", "--images-dir", to);
	check(runs() && state->death == SIGUSR1 && !state->signals, "restored: %d, %d signals", state->death,
	      state->signals);
	kill(pid, SIGKILL);
	tool_end(pid);
	check(within_patience(state->signals == 1), "the tool ended: %d signals", state->signals);
	check(runs(), "it does not run");

	dump(images());
	end = tool_end(tool("restore", "--restore-detached", "--images-dir", to));
	check(end == 0 && strstr(tool_said(), "parent death signal"), "restore: %d: %s", end, tool_said());
	check(runs() && state->death == 0, "restored to itself: %d", state->death);
	check(state->signals == 1, "it got the signal: %d", state->signals);
	kill(program, SIGKILL);
	must(waitpid(program, NULL, 0) == program);
}
