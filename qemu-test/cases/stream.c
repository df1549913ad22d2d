/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "steps.h"

CASE(.what = "a dump into a pipe is restored out of it; whatever happens to the stream, the program is there once",
     .drives_itself = true);

/* Copies a stream: up to `most` bytes of it, if that is not negative. Returns how many there were. */
static ssize_t drain(int from, int to, ssize_t most)
{
	static char part[65536];
	ssize_t all = 0;

	while (most < 0 || all < most) {
		size_t size = most < 0 || (size_t)(most - all) > sizeof(part) ? sizeof(part) : (size_t)(most - all);
		ssize_t n = read(from, part, size);

		must(n >= 0);
		if (!n)
			break;
		/* Whoever has seen enough reads no more. */
		if (to >= 0 && write(to, part, n) != n)
			break;
		all += n;
	}
	return all;
}

static void new_pipe(int ends[2])
{
	must(!pipe2(ends, O_CLOEXEC));
}

/* What a restore makes of the first `length` bytes of an image that come through a pipe. */
static int restore_of(int image, ssize_t length)
{
	int ends[2], end;
	pid_t pid;

	tool_said_nothing();
	new_pipe(ends);
	pid = tool_piped(ends[0], -1, "restore", "--restore-detached", "-");
	close(ends[0]);
	signal(SIGPIPE, SIG_IGN);
	must(!lseek(image, 0, SEEK_SET));
	drain(image, ends[1], length);
	close(ends[1]);
	end = tool_end(pid);
	return end;
}

static void run(void)
{
	struct adder adder = adder_start(4);
	int ends[2], image, end;
	char path[PATH_MAX];
	ssize_t length;
	pid_t dump, restore;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	must(adder_works(&adder));
	snprintf(path, sizeof(path), "%s/image", case_dir);
	image = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(image >= 0);

	/* Nobody reads; and somebody who has soon read enough. */
	for (int bytes = 0; bytes <= 100000; bytes += 50000) {
		tool_said_nothing();
		new_pipe(ends);
		if (!bytes)
			close(ends[0]);
		dump = tool_piped(-1, ends[1], "dump", "--tree", adder.number, "--image", "-");
		close(ends[1]);
		if (bytes) {
			drain(ends[0], -1, bytes);
			close(ends[0]);
		}
		end = tool_end(dump);
		check(end == 1, "dump of which %d bytes are read: %d: %s", bytes, end, tool_said());
		check(strstr(tool_said(), "EPIPE"), "the error does not say why: %s", tool_said());
		check(!strstr(tool_said(), "panicked"), "%s", tool_said());
		check(adder_works(&adder), "the program does not run");
		check(status_of(adder.pid, "TracerPid") == 0, "it is still traced");
	}

	/* It is left stopped, and what was said helps. */
	tool_said_nothing();
	new_pipe(ends);
	dump = tool_piped(-1, ends[1], "dump", "--tree", adder.number, "--image", "-");
	close(ends[1]);
	length = drain(ends[0], image, -1);
	close(ends[0]);
	end = tool_end(dump);
	check(end == 0, "dump: %d: %s", end, tool_said());
	snprintf(path, sizeof(path), "kill -CONT %s\n", adder.number);
	check(strstr(tool_said(), path), "no `%s` in: %s", path, tool_said());
	snprintf(path, sizeof(path), "kill -KILL %s\n", adder.number);
	check(strstr(tool_said(), path), "no `%s` in: %s", path, tool_said());
	/* It stops when it gets a processor. */
	check(within_patience(state_of(adder.pid, adder.pid) == 'T'), "it is not stopped, but %c",
	      state_of(adder.pid, adder.pid));
	end = restore_of(image, length);
	check(end == 4, "restore beside the stopped program: %d: %s", end, tool_said());
	check(strstr(tool_said(), adder.number), "the conflict does not name the pid: %s", tool_said());
	must(!kill(adder.pid, SIGCONT));
	/* The sums of the program that goes on are ahead of the image's now. */
	check(adder_works(&adder), "it does not go on");

	/* With what is to become of it, it needs no help. The image is of now. */
	must(!ftruncate(image, 0) && !lseek(image, 0, SEEK_SET));
	tool_said_nothing();
	new_pipe(ends);
	dump = tool_piped(-1, ends[1], "dump", "--leave-running", "--checksum", "--tree", adder.number, "--image", "-");
	close(ends[1]);
	length = drain(ends[0], image, -1);
	close(ends[0]);
	end = tool_end(dump);
	check(end == 0, "dump --leave-running: %d: %s", end, tool_said());
	check(!strstr(tool_said(), "kill -"), "it tells how to end what runs: %s", tool_said());
	check(state_of(adder.pid, adder.pid) != 'T', "it is stopped");
	must(!kill(adder.pid, SIGKILL) && waitpid(adder.pid, NULL, 0) == adder.pid);

	/* Nothing is made of a part of it, nor of what has changed on its way. */
	for (int i = 0; i < 6; i++) {
		ssize_t lengths[] = { 0, 30, 4096, length / 2, length - 4096, length - 1 };

		end = restore_of(image, lengths[i]);
		check(end == 1, "restore of %zd bytes: %d: %s", lengths[i], end, tool_said());
		check(strstr(tool_said(), "standard input"), "the error does not name the stream: %s", tool_said());
		check(!strstr(tool_said(), "panicked"), "%s", tool_said());
		check(kill(adder.pid, 0) && errno == ESRCH, "something was made of %zd bytes", lengths[i]);
	}
	for (int i = 0; i < 2; i++) {
		off_t at = length / 2;
		char byte;

		must(pread(image, &byte, 1, at) == 1);
		byte ^= 1;
		must(pwrite(image, &byte, 1, at) == 1);
		if (i)
			break;
		end = restore_of(image, length);
		check(end == 1, "restore of changed memory: %d: %s", end, tool_said());
		check(strstr(tool_said(), "checksum"), "the error does not say why: %s", tool_said());
		check(kill(adder.pid, 0) && errno == ESRCH, "something was made of a changed image");
	}
	end = restore_of(image, length);
	check(end == 0, "restore: %d: %s", end, tool_said());
	check(adder_works(&adder), "the restored program does not run");

	/* From a dump into a restore, on one machine: the stream ends when the program has. */
	tool_said_nothing();
	new_pipe(ends);
	dump = tool_piped(-1, ends[1], "dump", "--kill", "--tree", adder.number, "--image", "-");
	close(ends[1]);
	restore = tool_piped(ends[0], -1, "restore", "--restore-detached", "-");
	close(ends[0]);
	tool_dumps(dump, adder.pid);
	end = tool_end(restore);
	check(end == 0, "restore from the dump: %d: %s", end, tool_said());
	check(adder_works(&adder), "the restored program does not run");
	adder_stop(&adder);
}
