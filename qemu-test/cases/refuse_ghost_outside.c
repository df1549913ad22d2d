/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

CASE(.what = "a deleted file that a process outside has mapped is refused",
     .refused = "which is not in the tree, has it too (map_files/");

static void run(void)
{
	char path[PATH_MAX];
	int fd, fds[2];
	char *at;

	snprintf(path, sizeof(path), "%s/gone", case_dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	must(fd >= 0 && !ftruncate(fd, PAGE) && !pipe(fds));
	at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(at != MAP_FAILED && !unlink(path));
	close(fd);
	*at = 'x';
	hold_outside(fds[0], fds[1]);
	close(fds[0]);

	ready();
	check(*at == 'x', "%c", *at);
}
