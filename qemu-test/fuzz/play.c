// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * The plays: who acts in each, for how long, and how often it is given.
 */
#include "fuzz.h"

#define ONLY(kind)	(1U << VICTIM_##kind)
#define ALL_VICTIMS	((1U << VICTIMS) - 1)
#define STEADY_VICTIMS	(ONLY(IDLE) | ONLY(BUSY) | ONLY(FORKER) | ONLY(EXEC) | ONLY(SLEEPER) | \
			 ONLY(STOPPED))

/* An emulated machine does not get far with all at once. */
static void perhaps(void (*run)(void), unsigned int number)
{
	if (chance(50))
		role(run, number);
}

static void trace_ids(void)
{
	static const struct tracing how = {
		.weight_ids = 60, .weight_times = 2, .weight_read = 8, .weight_stop = 30,
		.victims = STEADY_VICTIMS | ONLY(MOVER) | ONLY(TABLES) | ONLY(EXIT),
	};

	tracer_run(&how);
}

static void ids_start(void)
{
	role(trace_ids, 10);
	role(trace_ids, 11);
	perhaps(trace_ids, 12);
	perhaps(bystander_moves, 20);
	perhaps(bystander_forks, 21);
	perhaps(bystander_reads, 22);
	perhaps(bystander_kills, 23);
	perhaps(bystander_asks, 24);
}

static void trace_stops(void)
{
	static const struct tracing how = {
		.weight_ids = 15, .weight_times = 5, .weight_read = 30, .weight_stop = 50,
		.victims = ALL_VICTIMS,
	};

	tracer_run(&how);
}

static void stops_start(void)
{
	role(trace_stops, 10);
	role(trace_stops, 11);
	perhaps(bystander_reads, 20);
	perhaps(bystander_kills, 21);
	perhaps(bystander_asks, 22);
}

static void trace_terminals(void)
{
	static const struct tracing how = {
		.weight_ids = 50, .weight_read = 5, .weight_stop = 45,
		.victims = ONLY(TTY) | ONLY(MOVER) | ONLY(IDLE) | ONLY(FORKER),
	};

	tracer_run(&how);
}

static void terminals_start(void)
{
	role(trace_terminals, 10);
	role(trace_terminals, 11);
	role(bystander_terminals, 20);
	perhaps(bystander_terminals, 21);
	perhaps(bystander_moves, 22);
	perhaps(bystander_kills, 23);
}

static void trace_nested(void)
{
	static const struct tracing how = {
		.weight_ids = 60, .weight_times = 5, .weight_read = 10, .weight_stop = 25,
		.victims = STEADY_VICTIMS | ONLY(THREADS) | ONLY(MOVER), .nested = true,
	};

	tracer_run(&how);
}

static void nested_start(void)
{
	role(trace_nested, 10);
	role(trace_nested, 11);
	perhaps(bystander_moves, 20);
	perhaps(bystander_forks, 21);
	perhaps(bystander_reads, 22);
}

static void trace_dying(void)
{
	static const struct tracing how = {
		.weight_ids = 50, .weight_times = 5, .weight_read = 10, .weight_stop = 35,
		.victims = STEADY_VICTIMS | ONLY(THREADS) | ONLY(MOVER), .nested = true,
		.dying = true,
	};

	tracer_run(&how);
}

static void dying_start(void)
{
	role(trace_dying, 10);
	role(trace_dying, 11);
	perhaps(bystander_forks, 20);
	perhaps(bystander_reads, 21);
}

static void trace_usage(void)
{
	static const struct tracing how = {
		.weight_ids = 5, .weight_times = 60, .weight_read = 5, .weight_stop = 30,
		.victims = ONLY(IDLE) | ONLY(TIMERS) | ONLY(FORKER) | ONLY(BUSY) | ONLY(THREADS),
	};

	tracer_run(&how);
}

static void usage_start(void)
{
	role(trace_usage, 10);
	role(trace_usage, 11);
	perhaps(bystander_reads, 20);
	perhaps(bystander_reads, 21);
}

const struct play plays[] = {
	{ "ids", "numbers, groups and sessions from one small range", ids_start, 4, 4,
	  .user = true, .freezes = true },
	{ "stops", "victims of all kinds in all stops", stops_start, 4, 3,
	  .user = true, .freezes = true },
	{ "terminals", "sessions with terminals", terminals_start, 4, 2, .freezes = true },
	{ "nested", "pid namespaces below", nested_start, 4, 3, .user = true, .freezes = true },
	{ "dying", "pid namespaces whose init is killed", dying_start, 4, 2, .freezes = true },
	{ "usage", "times, counts and who reads them", usage_start, 3, 2, .user = true },
	{ "model", "each outcome of SET_IDS and SET_PID is foretold", model_start, 4, 3 },
	{ "renumber", "one number to and fro, and all who look at it", renumber_start, 3, 2 },
	{ "borders", "sizes and addresses", borders_start, 3, 2 },
	{ "slow", "memory whose content comes late or never", slow_start, 4, 2,
	  .possible = slow_possible },
	{ "faults", "the nth allocation fails, for n from 1 on", faults_start, 3, 2,
	  .possible = faults_possible },
	{ "sockets", "TCP, UDP and Unix sockets in use", sockets_start, 4, 4, .user = true },
};

const unsigned int plays_count = ARRAY_SIZE(plays);

const struct play *play_find(const char *name)
{
	for (unsigned int i = 0; i < plays_count; i++)
		if (!strcmp(plays[i].name, name))
			return &plays[i];
	return NULL;
}
