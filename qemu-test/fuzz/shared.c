// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Counts and failures, in memory that all processes of a run share.
 */
#include <stdarg.h>

#include "fuzz.h"

/* After so many failures in a round there is nothing new in the next. */
#define FAILURES_SAID	8

struct shared *shared;

void shared_make(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
}

int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NSEC + now.tv_nsec;
}

/* A victim that has executed the program anew has no part in this and goes on until it is killed. */
bool going(void)
{
	int64_t now;

	if (!shared)
		return true;
	now = now_ns();
	return !shared->over &&
		(now < shared->end || (shared->calls < shared->wanted && now < shared->limit));
}

void sleep_us(unsigned int us)
{
	struct timespec time = { us / 1000000, us % 1000000 * 1000L };

	nanosleep(&time, NULL);
}

/* One write, so that lines of several processes stay whole. */
static void line(const char *start, const char *format, va_list args)
{
	char buf[1024];
	int n = snprintf(buf, sizeof(buf), "# %s", start);

	n += vsnprintf(buf + n, sizeof(buf) - n - 1, format, args);
	if (n > (int)sizeof(buf) - 2)
		n = sizeof(buf) - 2;
	buf[n++] = '\n';
	if (write(STDOUT_FILENO, buf, n) != n)
		_exit(1);
}

void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line("", format, args);
	va_end(args);
}

bool failure(const char *format, ...)
{
	char start[100];
	va_list args;

	if (!shared)
		return false;
	if (!atomic_fetch_add(&shared->failures, 1)) {
		va_start(args, format);
		vsnprintf(shared->first_failure, sizeof(shared->first_failure), format, args);
		va_end(args);
	}
	if (atomic_fetch_add(&shared->round_failures, 1) >= FAILURES_SAID)
		return false;
	snprintf(start, sizeof(start), "FAILURE in %s (--seed %llu --round %u), pid %d: ",
		 shared->play, (unsigned long long)shared->seed, shared->round, (int)getpid());
	va_start(args, format);
	line(start, format, args);
	va_end(args);
	return true;
}
