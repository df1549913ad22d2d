// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * What of the fuzzer works without the device: the oracle agrees with an
 * ordinary kernel on worlds in which victims and bystanders do what any program
 * may do, and disagrees when it is lied to.
 */
#include <stdarg.h>

#include "fuzz.h"

static unsigned int tests, failed;

static void result(bool ok, const char *what)
{
	tests++;
	failed += !ok;
	printf("%sok %u - %s\n", ok ? "" : "not ", tests, what);
}

static void a_victim(void)
{
	prctl(PR_SET_NAME, "victim");
	victim_run(below(VICTIMS));
}

static void crowd(void)
{
	for (unsigned int i = 0; i < 8; i++)
		role(a_victim, 10 + i);
	role(bystander_moves, 20);
	role(bystander_forks, 21);
	role(bystander_reads, 22);
	role(bystander_kills, 23);
	role(bystander_terminals, 24);
}

/* Frozen as it is, the oracle must find nothing; then what it is shown is changed. */
static void liar(void)
{
	static struct snapshot shot;
	unsigned int found = 0;
	pid_t pids[4];

	for (unsigned int i = 0; i < 4; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			if (i < 2)
				setsid();
			for (;;)
				pause();
		}
	}
	sleep_us(300000);
	snapshot_take(&shot);
	for (unsigned int lie = 0; lie < 4; lie++) {
		static struct snapshot told;

		told = shot;
		for (unsigned int i = 0; i < told.count; i++) {
			struct stat_line *line = &told.task[i].stat;

			if (lie == 0 && line->pid == pids[2])
				line->pgid = pids[0];
			if (lie == 1 && line->pid == pids[0])
				line->sid = 1;
			if (lie == 2 && line->pid == pids[3])
				line->pid = 77;
			if (lie == 3 && line->pid == pids[1])
				line->pgid = pids[0];
		}
		found += oracle_lied(&told);
	}
	if (found != 4)
		failure("the oracle sees %u of 4 lies", found);
	shared->over = 1;
}

static void liar_start(void)
{
	role(liar, 10);
}

static unsigned int play(const struct play *play, unsigned int number)
{
	unsigned int before = shared->failures;

	for (unsigned int i = 0; i < number; i++) {
		shared->round = i;
		world_run(play, i + 1);
	}
	return shared->failures - before;
}

static void freezing(void)
{
	static const struct play busy = {
		.name = "crowd", .start = crowd, .seconds = 3, .user = true, .freezes = true,
	};

	result(!play(&busy, 4), "an ordinary kernel has nothing that the oracle complains of");
	result(shared->frozen > 4, "worlds can be frozen");
}

static void lying(void)
{
	static const struct play lies = { .name = "liar", .start = liar_start, .seconds = 20 };

	result(!play(&lies, 1), "the oracle sees what is wrong");
}

static void slow_memory(void)
{
	char text[] = "late", buf[8] = "";
	struct slow_page *page;

	if (!slow_possible()) {
		printf("ok %u - pages that come late # SKIP no userfaultfd\n", ++tests);
		return;
	}
	page = slow_page_make(SLOW_DELAY, text, sizeof(text), 100);
	if (page)
		memcpy(buf, (char *)slow_page_at(page) + 100, sizeof(text));
	result(page && slow_page_was_hit(page) && !strcmp(buf, text), "pages that come late");
	if (page)
		slow_page_free(page);
}

static void places(void)
{
	unsigned int good = 0;

	random_begin(1, 1);
	for (unsigned int i = 0; i < 500; i++) {
		struct place place = place_make(1 + below(5000), 8);
		int pipes[2];

		/* The kernel agrees on what can be read. */
		if (place.readable && !pipe(pipes)) {
			good += write(pipes[1], place.at, 1) == 1;
			close(pipes[0]);
			close(pipes[1]);
		} else {
			good++;
		}
		place_free(&place);
	}
	result(good == 500, "places are what they are said to be");
}

static void sequence(void)
{
	uint64_t a, b;

	random_begin(5, 1);
	a = random_next();
	random_begin(5, 2);
	b = random_next();
	random_begin(5, 1);
	result(a == random_next() && a != b, "the same seed and role give the same numbers");
}

int selftest(void)
{
	printf("TAP version 13\n");
	shared_make();
	shared->seed = 1;
	sequence();
	places();
	slow_memory();
	lying();
	freezing();
	printf("1..%u\n", tests);
	return failed ? 1 : 0;
}
