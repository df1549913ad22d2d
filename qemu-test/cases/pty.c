/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "pty.h"
#include <sys/sysmacros.h>

CASE(.what = "a pseudo-terminal keeps its number, settings, size and modes, and goes on to carry what is written");

static bool readable(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };

	return poll(&p, 1, PATIENCE_MS) == 1 && p.revents & POLLIN;
}

static void run(void)
{
	struct winsize size = { .ws_row = 33, .ws_col = 77, .ws_xpixel = 5 }, has = { 0 };
	/* What is between its fields is compared too. */
	static struct termios set, is;
	char name[64], other[64], closed_name[64], text[16] = "";
	int master, slave, again, packets, locked, closed, number, on = 1;
	struct stat st;

	/* One below it that is not there any more. */
	closed = pty_open(other, 0);
	master = pty_open(name, O_NONBLOCK);
	packets = pty_open(other, 0);
	close(closed);
	closed = pty_open(closed_name, 0);
	locked = pty_open(other, O_CLOEXEC);
	must((slave = open(name, O_RDWR | O_NOCTTY)) >= 0 && (again = open(name, O_WRONLY | O_NOCTTY | O_APPEND)) >= 0);
	must(!tcgetattr(slave, &set));
	set.c_lflag &= ~(ICANON | ECHO);
	set.c_oflag &= ~OPOST;
	set.c_cc[VMIN] = 3;
	set.c_cc[VINTR] = 7;
	must(!cfsetspeed(&set, B9600) && !tcsetattr(slave, TCSANOW, &set));
	must(!ioctl(slave, TIOCSWINSZ, &size) && !ioctl(slave, TIOCEXCL));
	must(!chown(name, 1234, 5678) && !chmod(name, 0604));
	must(!ioctl(packets, TIOCPKT, &on) && !ioctl(locked, TIOCSPTLCK, &on));
	/* Its terminal was open, and is not any more. */
	close(open(closed_name, O_RDWR | O_NOCTTY));

	ready();

	check(!ioctl(master, TIOCGPTN, &number) && number == atoi(name + strlen("/dev/pts/")), "number %d, not %s", number, name);
	check(!fstat(slave, &st) && st.st_rdev == makedev(136, number), "device %lx", st.st_rdev);
	check(fcntl(master, F_GETFL) & O_NONBLOCK && fcntl(again, F_GETFL) & O_APPEND, "flags");
	check(st.st_uid == 1234 && st.st_gid == 5678 && (st.st_mode & 07777) == 0604, "owner %d, mode %o", st.st_uid, st.st_mode);
	check(!tcgetattr(slave, &is) && !memcmp(&set, &is, sizeof(is)), "settings %x %x %x", is.c_iflag, is.c_oflag, is.c_lflag);
	check(!ioctl(slave, TIOCGWINSZ, &has) && !memcmp(&size, &has, sizeof(has)), "%d x %d", has.ws_row, has.ws_col);
	check(!ioctl(slave, TIOCGEXCL, &on) && on == 1, "it is not exclusive");
	check(!ioctl(packets, TIOCGPKT, &on) && on == 1, "it does not read packets");
	check(!ioctl(locked, TIOCGPTLCK, &on) && on == 1, "it is not locked");
	check(fcntl(locked, F_GETFD) == FD_CLOEXEC && !fcntl(master, F_GETFD), "close-on-exec");
	check(read(closed, text, 1) < 0 && errno == EIO, "not hung up: %s", strerror(errno));
	check(read(master, text, 1) < 0 && errno == EAGAIN, "something waits there: %s", strerror(errno));
	check(write(master, "abc", 3) == 3 && readable(slave) && read(slave, text, 16) == 3 && !memcmp(text, "abc", 3), "%s", text);
	check(write(again, "d\n", 2) == 2 && readable(master) && read(master, text, 16) == 2 && !memcmp(text, "d\n", 2), "%s", text);
}
