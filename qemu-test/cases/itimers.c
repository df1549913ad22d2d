/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <sys/time.h>

CASE(.what = "interval timers go on with the time that was left, and one that is off stays off");

static volatile sig_atomic_t alarms;

static void on_alarm(int signal)
{
	(void)signal;
	alarms++;
}

static void run(void)
{
	struct sigaction act = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct itimerval long_one = { { 7, 250000 }, { 3600, 0 } };
	struct itimerval short_one = { { 0, 20000 }, { 0, 20000 } };
	struct itimerval now;

	must(!sigaction(SIGALRM, &act, NULL));
	must(!setitimer(ITIMER_VIRTUAL, &long_one, NULL));
	must(!setitimer(ITIMER_REAL, &short_one, NULL));
	ready();
	must(!getitimer(ITIMER_VIRTUAL, &now));
	check(now.it_interval.tv_sec == 7 && now.it_interval.tv_usec == 250000, "interval %ld.%06ld",
	      now.it_interval.tv_sec, now.it_interval.tv_usec);
	check(now.it_value.tv_sec > 3000 && now.it_value.tv_sec <= 3600, "%ld s left", now.it_value.tv_sec);
	must(!getitimer(ITIMER_PROF, &now));
	check(now.it_value.tv_sec == 0 && now.it_value.tv_usec == 0, "ITIMER_PROF is on");
	must(!getitimer(ITIMER_REAL, &now));
	check(now.it_interval.tv_usec == 20000, "interval %ld us", now.it_interval.tv_usec);
	/* It goes on ringing: this ends only if it does. */
	for (int seen = alarms; alarms < seen + 2; )
		pause_ms(5);
}
