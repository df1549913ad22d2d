// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Random numbers: each thread has its own sequence, made from the seed of the
 * round and the role of the thread, so that a round can be played again. What
 * threads do between each other stays up to the scheduler.
 */
#include "fuzz.h"

static __thread uint64_t state;

/* splitmix64 */
uint64_t random_next(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

void random_begin(uint64_t seed, unsigned int role)
{
	state = seed;
	state = random_next() ^ ((uint64_t)role << 32 | role);
	random_next();
}

unsigned int below(unsigned int limit)
{
	return limit ? (random_next() >> 16) % limit : 0;
}

bool chance(unsigned int percent)
{
	return below(100) < percent;
}

uint64_t border(void)
{
	uint64_t value = 0;

	switch (below(8)) {
	case 0:
		value = 0;
		break;
	case 1:
		value = UINT64_MAX;
		break;
	case 2:
	case 3:
		value = 1ULL << below(64);
		break;
	case 4:
		value = INT64_MAX;
		break;
	case 5:
		value = UINT32_MAX;
		break;
	case 6:
		value = INT32_MAX;
		break;
	case 7:
		value = random_next() >> below(64);
		break;
	}
	return value + below(5) - 2;
}
