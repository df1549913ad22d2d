/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"
#include "smaps.h"

#include <sys/shm.h>

CASE(.what = "a segment moves into the image; a restore refuses its number or key if taken, and removes what it made if it fails",
     .drives_itself = true);

enum { KEY = 0x00c4b5e0 };

static bool exists(int id)
{
	struct shmid_ds ds;

	return !shmctl(id, IPC_STAT, &ds);
}

/* The number of the next segment. */
static void say_next(int id)
{
	char text[16];
	int fd = open("/proc/sys/kernel/shm_next_id", O_WRONLY | O_CLOEXEC);

	must(fd >= 0);
	snprintf(text, sizeof(text), "%d", id);
	must(write(fd, text, strlen(text)) > 0);
	close(fd);
}

static void refused(const struct adder *adder, const char *to, const char *why)
{
	int end = tool_end(tool("restore", "--restore-detached", "--images-dir", to));

	check(end == 4, "restore: %d: %s", end, tool_said());
	check(strstr(tool_said(), why), "the conflict does not say `%s`: %s", why, tool_said());
	check(kill(adder->pid, 0) && errno == ESRCH, "something was made");
}

static void run(void)
{
	int key = KEY + getpid(), id = shmget(key, PAGE, IPC_CREAT | IPC_EXCL | 0600), end, other;
	uint64_t *at = shmat(id, NULL, 0);
	struct adder adder;
	const char *to;
	char pidfile[PATH_MAX];

	must(id >= 0 && at != (void *)-1);
	*at = 5;
	/* It inherits the segment. */
	adder = adder_start(1);
	must(!shmdt(at));
	to = images();
	adder_dump(&adder, to);
	check(!exists(id), "the dump has left the segment behind");

	say_next(id);
	other = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
	must(other == id);
	refused(&adder, to, "there is one with this number now");
	check(exists(id), "the segment of somebody else was removed");
	must(!shmctl(id, IPC_RMID, NULL));
	other = shmget(key, PAGE, IPC_CREAT | IPC_EXCL | 0600);
	must(other >= 0);
	refused(&adder, to, "has its key");
	check(exists(other), "the segment of somebody else was removed");
	must(!shmctl(other, IPC_RMID, NULL));

	/* A restore that fails at its end has made the segment already. */
	snprintf(pidfile, sizeof(pidfile), "%s/no/such/directory", case_dir);
	end = tool_end(tool("restore", "--restore-detached", "--images-dir", to, "--pidfile", pidfile));
	check(end == 1, "restore: %d: %s", end, tool_said());
	while (waitpid(-1, NULL, __WALL | WNOHANG) > 0)
		;
	check(!exists(id), "the failed restore has left the segment behind");

	end = tool_end(tool("restore", "--restore-detached", "--images-dir", to));
	check(end == 0, "restore: %d: %s", end, tool_said());
	check(adder_works(&adder), "the restored program does not run");
	at = shmat(id, NULL, SHM_RDONLY);
	check(at != (void *)-1 && *at == 5 && shmget(key, 0, 0) == id, "the restored segment");
	adder_stop(&adder);
	shmctl(id, IPC_RMID, NULL);
}
