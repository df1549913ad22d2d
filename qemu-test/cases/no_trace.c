/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"
#include "smaps.h"

#include <linux/perf_event.h>
#include <pthread.h>
#include <sys/ioctl.h>

CASE(.what = "with the module a program makes no call for the dump, and is the same to the bit afterwards",
     .needs_module = true, .drives_itself = true);

/*
 * Every system call that a thread of the program makes is recorded by the kernel
 * (tracepoint raw_syscalls:sys_enter), with the address from which it is made.
 * Nothing can be done by a program without one.
 */
enum { THREADS = 3, RING_PAGES = 64 };

/* What the program is told to do, and what it answers: named pipes, whose other ends are not its own. */
static int ask, answer;
/* In a file that both have mapped. */
static pid_t *tids;

static const char *path_of(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", case_dir, name);
	return path;
}

static int in_case(const char *name, int flags)
{
	int fd = open(path_of(name), flags | O_CLOEXEC, 0600);

	must(fd >= 0);
	return fd;
}

/* Without rseq, into whose memory the kernel writes when a thread gets another processor. */
static void begin_again(void)
{
	if (getenv("GLIBC_TUNABLES"))
		return;
	must(!setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0", 1));
	execl("/proc/self/exe", "no_trace", case_dir, NULL);
	must(!"executed");
}

static void *sleeper(void *arg)
{
	struct timespec hour = { 3600, 0 };
	size_t which = (size_t)arg;

	tids[which] = syscall(SYS_gettid);
	if (which == 1)
		nanosleep(&hour, NULL);
	else
		syscall(SYS_poll, NULL, 0, -1);
	return NULL;
}

/* All that the program could read, its own stack from here on. */
static __attribute__((noinline)) uint64_t hash_memory(const char *maps)
{
	uint64_t here = (uint64_t)__builtin_frame_address(0), hash = 1;

	for (const char *line = maps; *line; line = strchr(line, '\n') + 1) {
		char *end;
		uint64_t from = strtoul(line, &end, 16), to = strtoul(end + 1, &end, 16);
		const char *name = strchr(line, '\n');

		if (end[1] != 'r' || !memcmp(name - 6, "[vvar]", 6) || !memcmp(name - 13, "[vvar_vclock]", 13) ||
		    !memcmp(name - 10, "[vsyscall]", 10))
			continue;
		if (from <= here && here < to)
			from = here;
		for (const uint64_t *word = (void *)from; word < (uint64_t *)to; word++)
			hash = (hash ^ *word) * 0x100000001b3;
	}
	return hash;
}

static uint64_t registers[16], registers_after[16];

/* Reads a byte, with a pattern in all registers that a system call leaves alone. */
static __attribute__((noinline)) char read_with_registers(int fd)
{
	static char c;

	asm volatile("movq 0(%[r]), %%rbx\n movq 8(%[r]), %%r12\n movq 16(%[r]), %%r13\n movq 24(%[r]), %%r14\n"
		     "movq 32(%[r]), %%r15\n movq 40(%[r]), %%r8\n movq 48(%[r]), %%r9\n movq 56(%[r]), %%r10\n"
		     "movups 64(%[r]), %%xmm0\n movups 80(%[r]), %%xmm7\n movups 96(%[r]), %%xmm8\n movups 112(%[r]), %%xmm15\n"
		     "stc\n"
		     "syscall\n"
		     "movq %%rbx, 0+registers_after(%%rip)\n movq %%r12, 8+registers_after(%%rip)\n"
		     "movq %%r13, 16+registers_after(%%rip)\n movq %%r14, 24+registers_after(%%rip)\n"
		     "movq %%r15, 32+registers_after(%%rip)\n movq %%r8, 40+registers_after(%%rip)\n"
		     "movq %%r9, 48+registers_after(%%rip)\n movq %%r10, 56+registers_after(%%rip)\n"
		     "movups %%xmm0, 64+registers_after(%%rip)\n movups %%xmm7, 80+registers_after(%%rip)\n"
		     "movups %%xmm8, 96+registers_after(%%rip)\n movups %%xmm15, 112+registers_after(%%rip)\n"
		     :
		     : [r] "c"(registers), "a"(SYS_read), "D"((long)fd), "S"(&c), "d"(1)
		     : "rbx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm7", "xmm8", "xmm15",
		       "memory", "cc");
	return c;
}

/* What the program says of itself; 0 in `wrong` if nothing is. */
struct testimony {
	uint64_t hash;
	uint64_t wrong;
};

static void program(void)
{
	static char maps[1 << 16], again[1 << 16];
	struct testimony volatile said = { 0 };
	pthread_t thread;
	size_t length;

	tids[0] = getpid();
	for (size_t i = 1; i < THREADS; i++)
		must(!pthread_create(&thread, NULL, sleeper, (void *)i));
	for (int i = 0; i < 16; i++)
		registers[i] = pattern(5, i);
	length = slurp("/proc/self/maps", maps, sizeof(maps) - 1);
	/* What is done to the program is done while it waits here. */
	while (read_with_registers(ask) == 'h') {
		/* The hash must not be in what is hashed the next time. */
		said.hash = hash_memory(maps);
		must(slurp("/proc/self/maps", again, sizeof(again) - 1) == length);
		if (memcmp(registers, registers_after, 16 * 8))
			said.wrong |= 1;
		if (memcmp(maps, again, length))
			said.wrong |= 2;
		must(write(answer, (void *)&said, sizeof(said)) == sizeof(said));
		said.hash = said.wrong = 0;
	}
	_exit(0);
}

static struct testimony testimony(void)
{
	struct testimony said;

	must(write(ask, "h", 1) == 1 && read(answer, &said, sizeof(said)) == sizeof(said));
	return said;
}

/* The calls of one thread. */
struct ring {
	int fd;
	struct perf_event_mmap_page *page;
	uint64_t seen;
};

static long tracepoint(void)
{
	char text[32] = "";
	int fd;

	mkdir("/sys/kernel/tracing", 0700);
	mount("none", "/sys/kernel/tracing", "tracefs", 0, NULL);
	fd = open("/sys/kernel/tracing/events/raw_syscalls/sys_enter/id", O_RDONLY | O_CLOEXEC);
	must(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return atol(text);
}

static struct ring record(pid_t tid)
{
	enum { IP = 8 };	/* PERF_REG_X86_IP */
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
		.config = tracepoint(),
		.sample_period = 1,
		.sample_type = PERF_SAMPLE_REGS_USER,
		.sample_regs_user = 1ull << IP,
		.wakeup_events = 1,
	};
	struct ring ring = { .fd = syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC) };

	must(ring.fd >= 0);
	ring.page = mmap(NULL, (1 + RING_PAGES) * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, 0);
	must(ring.page != MAP_FAILED);
	return ring;
}

/* The next address from which a call was made; 0 if there is none yet. */
static uint64_t next_call(struct ring *ring)
{
	uint64_t head = __atomic_load_n(&ring->page->data_head, __ATOMIC_ACQUIRE);
	const char *data = (char *)ring->page + PAGE;

	while (ring->seen < head) {
		const struct perf_event_header *record = (void *)(data + ring->seen % (RING_PAGES * PAGE));
		const uint64_t *body = (void *)(record + 1);

		must(record->size < PAGE && ring->seen < (RING_PAGES - 1) * PAGE && record->type != PERF_RECORD_LOST);
		ring->seen += record->size;
		/* The ABI of the registers, then the register. */
		if (record->type == PERF_RECORD_SAMPLE) {
			must(body[0]);
			return body[1];
		}
	}
	return 0;
}

/* Whether an address is of the code of a process: a file's, or the vDSO. */
static bool is_code(pid_t pid, uint64_t address, bool *is_vdso)
{
	char path[64], line[4096], rights[8];
	unsigned long start, end;
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	file = fopen(path, "re");
	must(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) == 3 && start <= address && address < end) {
			*is_vdso = strstr(line, "[vdso]");
			found = rights[2] == 'x' && (*is_vdso || strchr(line, '/'));
		}
	fclose(file);
	return found;
}

/*
 * The ticks of the timer that have found a process in user mode. That is what the
 * kernel has counted: /proc and getrusage() scale it to the time for which the
 * process ran, in user mode or not (kernel/sched/cputime.c:cputime_adjust), so
 * that they show more after a while in the kernel.
 */
static int user_ticks(pid_t pid)
{
	enum { USER_MODE = 1 };	/* CPUCLOCK_VIRT */
	clockid_t clock = ~(unsigned int)pid << 3 | USER_MODE;
	struct timespec time, tick;

	must(!clock_gettime(clock, &time) && !clock_getres(clock, &tick) && !tick.tv_sec);
	return (time.tv_sec * 1000000000 + time.tv_nsec + tick.tv_nsec / 2) / tick.tv_nsec;
}

/* The calls that the threads have made since it was asked last. */
struct seen {
	int all;
	/* From the vDSO, and from elsewhere than the code of the program. */
	int of_vdso, alien;
};

static void calls(pid_t pid, struct ring *rings, struct seen *seen)
{
	uint64_t from;

	*seen = (struct seen){ 0 };
	for (int i = 0; i < THREADS; i++)
		while ((from = next_call(&rings[i]))) {
			bool is_vdso = false;

			seen->all++;
			seen->alien += !is_code(pid, from, &is_vdso);
			seen->of_vdso += is_vdso;
		}
}

static void dump(pid_t pid, const char *how, const char *backend)
{
	char number[16];
	int end;

	snprintf(number, sizeof(number), "%d", pid);
	end = tool_end(tool("dump", how, "--backend", backend, "--tree", number, "--images-dir", images()));
	check(end == 0, "dump %s with %s: %d: %s", how, backend, end, tool_said());
}

/*
 * A dump is no time in user mode. What stays stopped does not come there: not one
 * tick may find it there, however many dumps there are. What goes on does, at the
 * one call that it makes and when it begins its own again, for a few instructions;
 * a tick that was waiting for that moment finds it.
 */
static void check_user_time(void)
{
	enum { ROUNDS = 5, RETURNS = 2 };
	pid_t pid = fork();
	int ticks;

	must(pid >= 0);
	if (!pid) {
		setsid();
		/* This test would see it. */
		while (!user_ticks(getpid()))
			for (int volatile i = 0; i < 100000; i++)
				;
		for (;;)
			pause();
	}
	while (!user_ticks(pid) || state_of(pid, pid) != 'S')
		pause_ms(1);
	dump(pid, "--leave-stopped", "module");
	ticks = user_ticks(pid);
	for (int round = 0; round < ROUNDS; round++)
		dump(pid, "--leave-stopped", "module");
	check(user_ticks(pid) == ticks, "%d ticks of user time while it was stopped", user_ticks(pid) - ticks);
	must(!kill(pid, SIGCONT));
	while (state_of(pid, pid) != 'S')
		pause_ms(1);
	ticks = user_ticks(pid);
	for (int round = 0; round < ROUNDS; round++)
		dump(pid, "--leave-running", "module");
	check(user_ticks(pid) <= ticks + ROUNDS * RETURNS, "%d ticks of user time while it was left running",
	      user_ticks(pid) - ticks);
	must(!kill(pid, SIGKILL) && waitpid(pid, NULL, 0) == pid);
}

static void dump_recorded(pid_t pid, struct ring *rings, const char *how, const char *backend, struct seen *seen)
{
	calls(pid, rings, seen);
	dump(pid, how, backend);
	calls(pid, rings, seen);
}

static void run(void)
{
	struct ring rings[THREADS];
	struct seen seen;
	int fd;
	pid_t pid;

	begin_again();
	check_user_time();
	fd = in_case("tids", O_RDWR | O_CREAT);
	must(!ftruncate(fd, PAGE));
	tids = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(tids != MAP_FAILED && !mkfifo(path_of("ask"), 0600) && !mkfifo(path_of("answer"), 0600));
	close(fd);
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		setsid();
		ask = in_case("ask", O_RDWR);
		answer = in_case("answer", O_RDWR);
		program();
	}
	ask = in_case("ask", O_RDWR);
	answer = in_case("answer", O_RDWR);
	for (int i = 0; i < THREADS; i++) {
		while (!tids[i] || state_of(pid, tids[i]) != 'S')
			pause_ms(1);
		rings[i] = record(tids[i]);
	}
	/* Once for the first use of everything. */
	testimony();
	for (int round = 0; round < 3; round++) {
		struct testimony before = testimony(), after;

		while (state_of(pid, pid) != 'S')
			pause_ms(1);

		/* It stays stopped: nobody has gone on with the call that it was in. */
		dump_recorded(pid, rings, "--leave-stopped", "module", &seen);
		check(seen.all == 0, "%d calls were made for a dump with the module", seen.all);
		must(!kill(pid, SIGCONT));
		while (state_of(pid, pid) != 'S')
			pause_ms(1);

		/* One fork, at the vDSO; the threads go on with their calls where they made them. */
		dump_recorded(pid, rings, "--leave-running", "module", &seen);
		check(seen.alien == 0, "%d calls were made from elsewhere than the program's code", seen.alien);
		check(seen.of_vdso <= 1, "%d calls were made for a dump that leaves the program running", seen.of_vdso);

		after = testimony();
		check(after.hash == before.hash, "the memory of the program has changed");
		check(!after.wrong, "%s of the program have changed", after.wrong & 1 ? "registers" : "mappings");
	}
	/* This test would see it. */
	dump_recorded(pid, rings, "--leave-stopped", "mainline", &seen);
	check(seen.of_vdso > 0, "a dump without the module made %d calls, none in the vDSO", seen.all);
	kill(pid, SIGKILL);
	must(waitpid(pid, NULL, 0) == pid);
}
