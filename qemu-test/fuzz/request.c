// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Calls of the device: counted by request and errno. An errno that the header
 * does not name for a request is a failure, whatever the arguments were.
 */
#include "fuzz.h"

#define LOW_SIZE	(32 << 10)

int device = -1;
bool compat_works;

const char *const request_names[REQUESTS] = {
	"SET_PID", "SET_IDS", "SET_START", "ADD_USAGE", "SIGACTIONS",
	"THREAD", "PROCESS", "TCP", "MESSAGES",
};

static const unsigned int commands[REQUESTS] = {
	CKPT_IOC_SET_PID, CKPT_IOC_SET_IDS, CKPT_IOC_SET_START, CKPT_IOC_ADD_USAGE,
	CKPT_IOC_SIGACTIONS, CKPT_IOC_THREAD, CKPT_IOC_PROCESS, CKPT_IOC_TCP,
	CKPT_IOC_MESSAGES,
};

const size_t request_sizes[REQUESTS] = {
	sizeof(struct ckpt_set_pid), sizeof(struct ckpt_set_ids), sizeof(struct ckpt_set_start),
	sizeof(struct ckpt_usage), sizeof(struct ckpt_sigactions), sizeof(struct ckpt_thread),
	sizeof(struct ckpt_process), sizeof(struct ckpt_tcp), sizeof(struct ckpt_messages),
};

/* In memory that 32-bit code can name. */
static __thread uint8_t *low;

void caller_begin(uint64_t seed, unsigned int role)
{
	random_begin(seed, role);
	low = mmap(NULL, LOW_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (low == MAP_FAILED)
		low = NULL;
	coverage_begin();
	fault_begin();
}

static int compat_ioctl(int fd, unsigned int command, uint32_t arg)
{
	long ret;

	asm volatile("int $0x80"
		     : "=a" (ret)
		     : "a" (54L), "b" ((long)fd), "c" ((long)command), "d" ((long)arg)
		     : "r8", "r9", "r10", "r11", "memory");
	return (int)ret;
}

/* Without IA32_EMULATION the instruction is a fault. */
void request_probe(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		_exit(compat_ioctl(-1, 0, 0) == -EBADF ? 0 : 1);
	}
	compat_works = pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

static bool is_documented(unsigned int nr, int error)
{
	switch (error) {
	case 0:
	case E2BIG:
	case EFAULT:
	case EINVAL:
	case EBADF:
	case ESRCH:
	case EBUSY:
	case EPERM:
	case ENOMEM:
		return true;
	case EEXIST:
		return nr == CKPT_NR_SET_PID;
	case EAGAIN:
		return nr == CKPT_NR_SET_IDS;
	case EOVERFLOW:
		return nr == CKPT_NR_ADD_USAGE;
	case ENOTSOCK:
	case EOPNOTSUPP:
	case ENODATA:
		return nr == CKPT_NR_TCP || nr == CKPT_NR_MESSAGES;
	default:
		return false;
	}
}

static int count(unsigned int nr, int error)
{
	atomic_fetch_add(&shared->count[nr][error < ERRNOS ? error : ERRNOS - 1], 1);
	if (!is_documented(nr, error))
		failure("%s fails with what is not documented: %s", request_names[nr],
			strerror(error));
	return error;
}

static int call(unsigned int command, uintptr_t arg)
{
	int error;

	atomic_fetch_add(&shared->calls, 1);
	coverage_on();
	error = ioctl(device, command, arg) ? errno : 0;
	coverage_off();
	return error;
}

int request_plain(unsigned int nr, void *arg)
{
	return count(nr, call(commands[nr], (uintptr_t)arg));
}

int request(unsigned int nr, void *arg)
{
	unsigned int way = below(100);
	int error;

	if (way < 10 && compat_works && low) {
		atomic_fetch_add(&shared->compat, 1);
		atomic_fetch_add(&shared->calls, 1);
		memcpy(low, arg, request_sizes[nr]);
		coverage_on();
		error = -compat_ioctl(device, commands[nr], (uintptr_t)low);
		coverage_off();
		memcpy(arg, low, request_sizes[nr]);
		return count(nr, error < 0 ? 0 : error);
	}
	if (way < 20 && faults_work) {
		/* A copy of user space can be what fails. */
		fault_arm(1 + below(12));
		error = call(commands[nr], (uintptr_t)arg);
		fault_disarm();
		return count(nr, error);
	}
	return request_plain(nr, arg);
}

int request_raw(unsigned int command, uintptr_t arg)
{
	atomic_fetch_add(&shared->odd, 1);
	return call(command, arg);
}

int request_sized(unsigned int nr, size_t size, uintptr_t arg)
{
	return request_raw(_IOC(_IOC_DIR(commands[nr]), CKPT_IOC_MAGIC, nr, size), arg);
}
