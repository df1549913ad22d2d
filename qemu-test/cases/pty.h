/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Pairs of pseudo-terminals. Include after case.h. */
#ifndef PTY_H
#define PTY_H

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

/* The controlling side of a new pair; the path of the terminal goes to `name`. */
static inline int pty_open(char name[64], int flags)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | flags);

	must(master >= 0 && !grantpt(master) && !unlockpt(master) && !ptsname_r(master, name, 64));
	return master;
}

static char pty_seen[65536];
static size_t pty_length;

/* Reads what the terminal shows until it has shown `text` since `from`; returns the place behind that. */
static inline size_t pty_shows(int master, size_t from, const char *text)
{
	struct pollfd p = { master, POLLIN, 0 };
	char *found;

	while (!(found = strstr(pty_seen + from, text))) {
		if (poll(&p, 1, PATIENCE_MS) != 1) {
			check(0, "the terminal does not show \"%s\" but:\n%s", text, pty_seen + from);
			_exit(1);
		}
		ssize_t n = read(master, pty_seen + pty_length, sizeof(pty_seen) - 1 - pty_length);

		must(n > 0);
		pty_length += n;
		pty_seen[pty_length] = 0;
	}
	return found + strlen(text) - pty_seen;
}

static inline void pty_type(int master, const char *text)
{
	must(write(master, text, strlen(text)) == (ssize_t)strlen(text));
}

#endif
