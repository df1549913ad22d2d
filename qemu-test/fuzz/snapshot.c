// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * What /proc says of the tasks of this pid namespace.
 */
#include <dirent.h>

#include "fuzz.h"

ssize_t read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n >= 0)
		buf[n] = 0;
	return n;
}

static bool parse_stat(char *buf, struct stat_line *line)
{
	char *open_paren = strchr(buf, '('), *close_paren = strrchr(buf, ')');
	unsigned long long v[20];
	long long c[2];
	int n;

	if (!open_paren || !close_paren)
		return false;
	*close_paren = 0;
	memset(line, 0, sizeof(*line));
	line->pid = atoi(buf);
	snprintf(line->comm, sizeof(line->comm), "%s", open_paren + 1);
	n = sscanf(close_paren + 1,
		   " %c %d %d %d %d %*d %*u %llu %llu %llu %llu %llu %llu %lld %lld %*d %*d %*d %*d %llu",
		   &line->state, &line->ppid, &line->pgid, &line->sid, &line->tty,
		   &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &c[0], &c[1], &v[6]);
	line->minflt = v[0];
	line->cminflt = v[1];
	line->majflt = v[2];
	line->cmajflt = v[3];
	line->utime = v[4];
	line->stime = v[5];
	line->cutime = c[0];
	line->cstime = c[1];
	line->start = v[6];
	return n == 14;
}

static bool stat_at(const char *path, struct stat_line *line)
{
	char buf[1024];

	return read_file(path, buf, sizeof(buf)) > 0 && parse_stat(buf, line);
}

bool stat_of(pid_t pid, struct stat_line *line)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	return stat_at(path, line);
}

static int numbers(const char *buf, const char *name, pid_t *list)
{
	const char *at = strstr(buf, name);
	int n = 0, used;

	if (!at)
		return 0;
	at += strlen(name);
	while (n < LEVELS && *at != '\n' && sscanf(at, "%d%n", &list[n], &used) == 1) {
		at += used;
		n++;
	}
	return n;
}

bool ids_of(pid_t pid, struct ids *ids)
{
	char path[64], buf[4096];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (read_file(path, buf, sizeof(buf)) <= 0)
		return false;
	memset(ids, 0, sizeof(*ids));
	ids->levels = numbers(buf, "\nNSpid:", ids->pid);
	return numbers(buf, "\nNStgid:", ids->tgid) == ids->levels &&
		numbers(buf, "\nNSpgid:", ids->pgid) == ids->levels &&
		numbers(buf, "\nNSsid:", ids->sid) == ids->levels && ids->levels;
}

/* As fdinfo has it: -1 if it is dead and reaped, 0 if this namespace does not see it. */
pid_t pid_of_pidfd(int pidfd)
{
	char path[64], buf[1024], *at;

	snprintf(path, sizeof(path), "/proc/thread-self/fdinfo/%d", pidfd);
	if (read_file(path, buf, sizeof(buf)) <= 0)
		return -2;
	at = strstr(buf, "\nPid:");
	return at ? atoi(at + 5) : -2;
}

static void threads_of(struct snapshot *shot, pid_t pid)
{
	char path[80];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		struct task *task = &shot->task[shot->count];

		task->tid = atoi(entry->d_name);
		task->pid = pid;
		if (!task->tid || shot->count == ARRAY_SIZE(shot->task))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, task->tid);
		if (stat_at(path, &task->stat))
			shot->count++;
	}
	if (dir)
		closedir(dir);
}

void snapshot_take(struct snapshot *shot)
{
	struct dirent *entry;
	DIR *dir = opendir("/proc");

	shot->count = 0;
	while (dir && (entry = readdir(dir)))
		if (atoi(entry->d_name) > 0)
			threads_of(shot, atoi(entry->d_name));
	if (dir)
		closedir(dir);
}

void snapshot_say(void)
{
	struct snapshot *shot = malloc(sizeof(*shot));

	if (!shot)
		return;
	snapshot_take(shot);
	for (unsigned int i = 0; i < shot->count; i++) {
		const struct task *task = &shot->task[i];
		char path[80], stack[2000];

		snprintf(path, sizeof(path), "/proc/%d/task/%d/stack", task->pid, task->tid);
		/* Of kernel threads only those that are stuck. */
		if (read_file(path, stack, sizeof(stack)) < 0)
			stack[0] = 0;
		if ((task->stat.ppid == 2 || task->pid == 2) && task->stat.state != 'D')
			continue;
		say("%d/%d (%s) %c parent %d group %d session %d", task->pid, task->tid,
		    task->stat.comm, task->stat.state, task->stat.ppid, task->stat.pgid,
		    task->stat.sid);
		for (char *line = strtok(stack, "\n"); line; line = strtok(NULL, "\n"))
			say("    %s", line);
	}
	free(shot);
}
