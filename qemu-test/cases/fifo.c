/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <poll.h>

CASE(.what = "FIFOs keep contents and ends");

static void run(void)
{
	char path[PATH_MAX], quiet_path[PATH_MAX], buf[32];
	struct pollfd quiet = { .events = POLLIN };
	int reader, writer;

	snprintf(path, sizeof(path), "%s/fifo", case_dir);
	snprintf(quiet_path, sizeof(quiet_path), "%s/quiet", case_dir);
	must(mkfifo(path, 0600) == 0 || errno == EEXIST);
	must(mkfifo(quiet_path, 0600) == 0 || errno == EEXIST);
	reader = open(path, O_RDONLY | O_NONBLOCK);
	must(reader >= 0);
	writer = open(path, O_WRONLY);
	must(writer >= 0);
	must(fcntl(reader, F_SETFL, 0) == 0);
	must(write(writer, "in the fifo", 11) == 11);
	/* Nobody has ever written here. */
	quiet.fd = open(quiet_path, O_RDONLY | O_NONBLOCK);
	must(quiet.fd >= 0);
	must(poll(&quiet, 1, 0) == 0);

	ready();
	check(read(reader, buf, sizeof(buf)) == 11 && !memcmp(buf, "in the fifo", 11), "contents");
	check(!(fcntl(reader, F_GETFL) & (O_ACCMODE | O_NONBLOCK)), "flags %#o", fcntl(reader, F_GETFL));
	check(write(writer, "more", 4) == 4 && read(reader, buf, 4) == 4, "it does not go on");
	close(writer);
	check(read(reader, buf, 1) == 0, "no end without a writer");
	check(poll(&quiet, 1, 0) == 0, "a FIFO without a writer reports %#x", quiet.revents);
	check((fcntl(quiet.fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == O_NONBLOCK, "flags of the quiet one");
	writer = open(path, O_RDWR);
	check(writer >= 0 && write(writer, "new", 3) == 3 && read(reader, buf, 3) == 3,
	      "it is another FIFO than the one of that name");
}
