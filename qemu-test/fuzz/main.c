// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * A fuzzer of /dev/ckpt: rounds of random plays until the time is over, then
 * what came of it, as TAP. See fuzz.h for how a round comes about.
 *
 * A failure names seed and round; --seed N --round R plays that round again,
 * with the same random numbers. The order in which threads run is not repeated.
 */
#include <getopt.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "fuzz.h"

#define PROGRESS	(60 * NSEC)

static unsigned int rounds[32];
static unsigned int tests, failed;

static void usage(void)
{
	fprintf(stderr, "usage: fuzz [--seed N] [--round N] [--rounds N] [--seconds S] [--play NAME]\n"
		"            [--coverage FILE]\n"
		"       fuzz --self-test    the oracle alone, without the device\n"
		"       fuzz --list         the plays\n");
	exit(2);
}

static void result(bool ok, const char *format, ...)
{
	char text[300];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	tests++;
	failed += !ok;
	printf("%sok %u - %s\n", ok ? "" : "not ", tests, text);
}

static bool is_possible(const struct play *play)
{
	return !play->possible || play->possible();
}

static const struct play *draw(void)
{
	unsigned int total = 0, at;

	for (unsigned int i = 0; i < plays_count; i++)
		total += is_possible(&plays[i]) ? plays[i].weight : 0;
	at = below(total);
	for (unsigned int i = 0; i < plays_count; i++) {
		unsigned int weight = is_possible(&plays[i]) ? plays[i].weight : 0;

		if (at < weight)
			return &plays[i];
		at -= weight;
	}
	return &plays[0];
}

static uint64_t calls(unsigned int nr)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < ERRNOS; i++)
		sum += shared->count[nr][i];
	return sum;
}

static void histogram(unsigned int nr)
{
	char line[800];
	int n = snprintf(line, sizeof(line), "%s: %llu calls, %llu succeeded", request_names[nr],
			 (unsigned long long)calls(nr), (unsigned long long)shared->count[nr][0]);

	for (unsigned int i = 1; i < ERRNOS && n < (int)sizeof(line); i++)
		if (shared->count[nr][i])
			n += snprintf(line + n, sizeof(line) - n, ", %s %llu", strerrorname_np(i),
				      (unsigned long long)shared->count[nr][i]);
	say("%s", line);
}

static void progress(int64_t start)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < REQUESTS; i++)
		sum += calls(i);
	say("%lld s: %u rounds, %llu requests, %u addresses, %u failures",
	    (long long)((now_ns() - start) / NSEC), shared->round + 1, (unsigned long long)sum,
	    shared->pc_count, shared->failures);
}

/* Objects of the kernel that are worlds, or parts of them; they go after a grace period. */
static long objects(const char *name)
{
	char line[512];
	FILE *file;
	long count = -1;
	int fd;

	/* What processors keep for themselves counts as in use. */
	snprintf(line, sizeof(line), "/sys/kernel/slab/%s/shrink", name);
	fd = open(line, O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (write(fd, "1", 1) < 0)
			say("%s: %s", line, strerror(errno));
		close(fd);
	}
	file = fopen("/proc/slabinfo", "r");
	while (file && fgets(line, sizeof(line), file)) {
		size_t n = strlen(name);

		if (!strncmp(line, name, n) && line[n] == ' ')
			count = atol(line + n);
	}
	if (file)
		fclose(file);
	return count;
}

static const char *const kept[] = { "pid", "pid_2", "pid_3", "pid_namespace", "task_struct", "signal_cache" };

static void leaks(const long before[])
{
	/* Others live too. */
	long most = 128 + shared->round / 4;

	for (unsigned int i = 0; i < ARRAY_SIZE(kept); i++) {
		long after = -1;

		if (before[i] < 0)
			continue;
		for (unsigned int tries = 0; tries < 20; tries++) {
			after = objects(kept[i]);
			if (after <= before[i] + most)
				break;
			sleep_us(500000);
		}
		result(after <= before[i] + most, "%s: %ld objects after the run, %ld before",
		       kept[i], after, before[i]);
	}
}

static void summary(int64_t start)
{
	static const char *const stops[STOPS] = {
		"asked for", "group", "listening", "signal", "system call", "fork", "exec", "exit",
		"worker of the kernel",
	};
	char line[300];
	int n = 0;

	progress(start);
	say("%llu calls of 32-bit code, %llu allocations failed, %llu odd calls",
	    (unsigned long long)shared->compat, (unsigned long long)shared->injected,
	    (unsigned long long)shared->odd);
	say("%llu checks of ids, the oracle has looked %llu times, and %llu times it did not get still",
	    (unsigned long long)shared->checks, (unsigned long long)shared->frozen,
	    (unsigned long long)shared->gave_up);
	for (unsigned int i = 0; i < STOPS; i++)
		n += snprintf(line + n, sizeof(line) - n, "%s %s %llu", i ? "," : "", stops[i],
			      (unsigned long long)shared->stops[i]);
	say("stops:%s", line);
	for (unsigned int i = 0; i < REQUESTS; i++)
		histogram(i);
	fflush(stdout);
}

static void mount_debugfs(void)
{
	if (access("/sys/kernel/debug/kcov", F_OK) && access("/sys/kernel/debug/failslab", F_OK))
		mount("debug", "/sys/kernel/debug", "debugfs", 0, NULL);
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 0);

	if (!*text || *end)
		usage();
	return value;
}

static uint64_t any_seed(void)
{
	uint64_t seed;

	if (syscall(SYS_getrandom, &seed, sizeof(seed), 0) != sizeof(seed))
		seed = now_ns();
	return seed % 1000000000;
}

static void victim_again(char **argv)
{
	prctl(PR_SET_NAME, "victim");
	random_begin(strtoull(argv[1], NULL, 0), 0);
	victim_run(atoi(argv[0]));
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "round", required_argument, NULL, 'r' },
		{ "rounds", required_argument, NULL, 'n' },
		{ "seconds", required_argument, NULL, 't' },
		{ "play", required_argument, NULL, 'p' },
		{ "coverage", required_argument, NULL, 'c' },
		{ "self-test", no_argument, NULL, 'S' },
		{ "list", no_argument, NULL, 'l' },
		{ },
	};
	const char *coverage = NULL;
	const struct play *only = NULL;
	uint64_t seed = any_seed(), seconds = 60, limit = UINT64_MAX;
	long before[ARRAY_SIZE(kept)], first = -1;
	bool trusted = true;
	int64_t start, said;
	int option;

	if (argc == 4 && !strcmp(argv[1], "--victim"))
		victim_again(argv + 2);
	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 's':
			seed = number(optarg);
			break;
		case 'r':
			first = number(optarg);
			break;
		case 'n':
			limit = number(optarg);
			break;
		case 't':
			seconds = number(optarg);
			break;
		case 'p':
			only = play_find(optarg);
			if (!only)
				usage();
			break;
		case 'c':
			coverage = optarg;
			break;
		case 'S':
			return selftest();
		case 'l':
			for (unsigned int i = 0; i < plays_count; i++)
				printf("%-10s %s\n", plays[i].name, plays[i].what);
			return 0;
		default:
			usage();
		}
	}
	if (optind != argc)
		usage();

	printf("TAP version 13\n");
	device = open("/dev/ckpt", O_RDWR | O_CLOEXEC);
	if (device < 0) {
		printf("1..0 # SKIP no /dev/ckpt\n");
		return 0;
	}
	shared_make();
	shared->seed = seed;
	mount_debugfs();
	coverage_wanted = !access("/sys/kernel/debug/kcov", R_OK | W_OK);
	fault_probe();
	request_probe();
	say("seed %llu, %llu s; 32-bit calls: %s, failing allocations: %s, coverage: %s",
	    (unsigned long long)seed, (unsigned long long)seconds, compat_works ? "yes" : "no",
	    faults_work ? "yes" : "no", coverage_wanted ? "yes" : "no");
	for (unsigned int i = 0; i < ARRAY_SIZE(kept); i++)
		before[i] = objects(kept[i]);

	start = said = now_ns();
	if (first >= 0)
		limit = 1;
	/* On a busy machine it takes longer until all has been played. */
	for (uint64_t i = 0; i < limit && trusted &&
	     (now_ns() - start < (int64_t)seconds * NSEC ||
	      (!only && limit == UINT64_MAX && i < plays_count)); i++) {
		unsigned int round = first >= 0 ? (uint64_t)first : i;
		const struct play *play;
		uint64_t round_seed;

		random_begin(seed, round);
		round_seed = random_next();
		play = draw();
		/* All that can be played is played once before anything is played again. */
		if (round < plays_count && is_possible(&plays[round]))
			play = &plays[round];
		if (only)
			play = only;
		shared->round = round;
		trusted = world_run(play, round_seed);
		rounds[play - plays]++;
		if (now_ns() - said > PROGRESS) {
			progress(start);
			said = now_ns();
		}
	}

	summary(start);
	for (unsigned int i = 0; i < plays_count; i++)
		if (rounds[i])
			result(true, "%s: %s, %u rounds", plays[i].name, plays[i].what, rounds[i]);
		else if (!is_possible(&plays[i]))
			printf("ok %u - %s: %s # SKIP this kernel has not what it takes\n", ++tests,
			       plays[i].name, plays[i].what);
	for (unsigned int i = 0; i < REQUESTS && !only && limit == UINT64_MAX; i++)
		result(shared->count[i][0], "%s succeeds%s", request_names[i],
		       shared->count[i][0] ? "" : ": never, so nothing was covered");
	result(!shared->failures, "%u failures, seed %llu%s%s", shared->failures, (unsigned long long)seed,
	       shared->failures ? ", the first: " : "", shared->first_failure);
	if (trusted)
		leaks(before);
	if (coverage)
		result(shared->pc_count && coverage_write(coverage), "%u addresses of kernel code in %s",
		       shared->pc_count, coverage);
	printf("1..%u\n", tests);
	return failed ? 1 : 0;
}
