/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

#include <sys/resource.h>

CASE(.what = "CPU time, faults and children's times go on from where they were, and a zombie's are told", .needs_module = true);

#define LARGE	(8 << 20)

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	must(!clock_gettime(clock, &t));
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void burn(long ms)
{
	uint64_t until = clock_ns(CLOCK_PROCESS_CPUTIME_ID) + ms * 1000000ull;

	while (clock_ns(CLOCK_PROCESS_CPUTIME_ID) < until)
		;
}

/* A child that has used time and memory. */
static pid_t user(size_t mib)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (!pid) {
		memset(map(NULL, mib << 20, PROT_READ | PROT_WRITE, ANONYMOUS), 1, mib << 20);
		burn(60);
		_exit(7);
	}
	return pid;
}

static uint64_t cpu(const struct rusage *r)
{
	return (r->ru_utime.tv_sec + r->ru_stime.tv_sec) * 1000000ull + r->ru_utime.tv_usec + r->ru_stime.tv_usec;
}

/* Times and faults are not less than before; what the restore itself has used may be more. */
static void goes_on(const char *whose, const struct rusage *was, const struct rusage *is)
{
	check(cpu(is) >= cpu(was), "%s: %lu us of CPU time, was %lu", whose, cpu(is), cpu(was));
	check(is->ru_minflt >= was->ru_minflt && is->ru_majflt >= was->ru_majflt, "%s: faults %ld %ld, were %ld %ld",
	      whose, is->ru_minflt, is->ru_majflt, was->ru_minflt, was->ru_majflt);
	/* A dump is told those of threads, and not what a restore has added for the process. */
	check(is_repeated() || (is->ru_nvcsw >= was->ru_nvcsw && is->ru_nivcsw >= was->ru_nivcsw),
	      "%s: switches %ld %ld, were %ld %ld", whose, is->ru_nvcsw, is->ru_nivcsw, was->ru_nvcsw,
	      was->ru_nivcsw);
}

static uint64_t ticks(struct timeval t)
{
	return t.tv_sec * 100ull + t.tv_usec / 10000;
}

static void run(void)
{
	struct rusage own_was, own, children_was, children, zombie_was, zombie;
	uint64_t clock_was;
	siginfo_t info;
	pid_t pid;
	long largest;
	int status;

	memset(map(NULL, LARGE, PROT_READ | PROT_WRITE, ANONYMOUS), 1, LARGE);
	burn(100);
	pid = user(6);
	must(waitpid(pid, &status, 0) == pid);
	pid = user(4);
	/* Waits until it has ended, and leaves it. glibc's waitid() has no rusage. */
	must(!syscall(SYS_waitid, P_PID, pid, &info, WEXITED | WNOWAIT, &zombie_was));
	must(!getrusage(RUSAGE_CHILDREN, &children_was) && !getrusage(RUSAGE_SELF, &own_was));
	clock_was = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	must(cpu(&children_was) >= 50000 && cpu(&zombie_was) >= 50000 && zombie_was.ru_maxrss >= 4096);

	ready();

	check(clock_ns(CLOCK_PROCESS_CPUTIME_ID) >= clock_was, "the clock went back to %lu from %lu",
	      clock_ns(CLOCK_PROCESS_CPUTIME_ID), clock_was);
	must(!getrusage(RUSAGE_CHILDREN, &children) && !getrusage(RUSAGE_SELF, &own));
	goes_on("own", &own_was, &own);
	/*
	 * A dump is told how large the memory was since it was made, which a restore does: what was larger
	 * before an earlier restore (files, mostly, that are read again when they are needed) is not told.
	 */
	largest = is_repeated() ? LARGE >> 10 : own_was.ru_maxrss;
	check(own.ru_maxrss >= largest, "largest size %ld, was %ld", own.ru_maxrss, largest);
	/* Nobody was waited for since: the kernel tells the times of children in ticks, their faults, and no more. */
	check(ticks(children.ru_utime) == ticks(children_was.ru_utime) &&
	      ticks(children.ru_stime) == ticks(children_was.ru_stime), "children: %lu us of CPU time, was %lu",
	      cpu(&children), cpu(&children_was));
	check(children.ru_minflt == children_was.ru_minflt && children.ru_majflt == children_was.ru_majflt,
	      "children: faults %ld %ld, were %ld %ld", children.ru_minflt, children.ru_majflt, children_was.ru_minflt,
	      children_was.ru_majflt);
	/* Who was only left running has lost nothing. */
	check((children.ru_nvcsw == children_was.ru_nvcsw && children.ru_nivcsw == children_was.ru_nivcsw &&
	       children.ru_maxrss == children_was.ru_maxrss && children.ru_inblock == children_was.ru_inblock) ||
	      (!children.ru_nvcsw && !children.ru_nivcsw && !children.ru_maxrss && !children.ru_inblock),
	      "children: switches %ld %ld, size %ld, blocks %ld: neither kept nor counted from zero on",
	      children.ru_nvcsw, children.ru_nivcsw, children.ru_maxrss, children.ru_inblock);
	check(wait4(pid, &status, 0, &zombie) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7, "status %x", status);
	goes_on("zombie", &zombie_was, &zombie);
	must(!getrusage(RUSAGE_CHILDREN, &own_was));
	check(cpu(&own_was) >= cpu(&children) + cpu(&zombie) - 2, "what the zombie has used is not added");
}
