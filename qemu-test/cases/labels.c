/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"

#include <grp.h>
#include <pthread.h>

CASE(.what = "threads keep the labels of a security module, and those for what they make, without privileges");

/*
 * With Smack any label will do; with AppArmor there must be profiles of these
 * names, which allow everything.
 */
enum { LEADER, OTHER, LABELS };
static const char *const names[LABELS] = { "crust-case", "crust-case-2" };
static const char *current_file, *verb, *exec_file;
static pthread_barrier_t set, restored;
static int up[2], go[2];

static void read_file(const char *name, char *text, size_t size)
{
	ssize_t n = -1;
	int fd = open(name, O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		n = read(fd, text, size - 1);
	text[n < 0 ? 0 : n] = 0;
	text[strcspn(text, "\n (")] = 0;
	close(fd);
}

static void write_file(const char *name, const char *word, const char *label)
{
	char text[128];
	int fd = open(name, O_WRONLY | O_CLOEXEC);

	snprintf(text, sizeof(text), "%s%s", word, label);
	must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void is_labelled(const char *who, const char *file, const char *label)
{
	char text[128];

	read_file(file, text, sizeof(text));
	check(!strcmp(text, label), "%s: %s is `%s`", who, file, text);
}

/* For who may not look into its own /proc, since that is labelled like the main thread. */
static void calls_itself(const char *who, const char *label)
{
	struct {
		uint64_t module, flags, length, size;
		char label[256];
	} context = { 0 };
	uint32_t size = sizeof(context);

	check(syscall(459 /* lsm_get_self_attr */, 100 /* LSM_ATTR_CURRENT */, &context, &size, 0) == 1, "%s: %s", who,
	      strerror(errno));
	context.label[strcspn(context.label, "\n (")] = 0;
	check(!strcmp(context.label, label), "%s: it is `%s`", who, context.label);
}

static void *other(void *arg)
{
	write_file(current_file, verb, names[OTHER]);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&restored);
	calls_itself("other thread", names[OTHER]);
	return arg;
}

static void child(void)
{
	pthread_t t;
	char byte;

	must(!pthread_barrier_init(&set, NULL, 2) && !pthread_barrier_init(&restored, NULL, 2));
	must(!pthread_create(&t, NULL, other, NULL));
	write_file(current_file, verb, names[LEADER]);
	if (exec_file)
		write_file(exec_file, "exec ", names[OTHER]);
	pthread_barrier_wait(&set);
	must(!setgroups(0, NULL) && !setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
	must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	must(write(up[1], "u", 1) == 1);
	must(read(go[0], &byte, 1) == 1);
	is_labelled("main thread", current_file, names[LEADER]);
	if (exec_file)
		is_labelled("main thread", exec_file, names[OTHER]);
	pthread_barrier_wait(&restored);
	must(!pthread_join(t, NULL));
	_exit(case_failures ? 1 : 0);
}

static void run(void)
{
	char label[128];
	int status;
	pid_t pid;

	current_file = "/proc/thread-self/attr/smack/current";
	verb = "";
	read_file(current_file, label, sizeof(label));
	if (!*label) {
		current_file = "/proc/thread-self/attr/apparmor/current";
		exec_file = "/proc/thread-self/attr/apparmor/exec";
		verb = "changeprofile ";
		read_file(current_file, label, sizeof(label));
	}
	if (!*label)
		skip("neither Smack nor AppArmor is active");
	must(!pipe(up) && !pipe(go));
	pid = fork();
	must(pid >= 0);
	if (!pid)
		child();
	must(read(up[0], label, 1) == 1);
	ready();
	is_labelled("parent", current_file, exec_file ? "unconfined" : "_");
	must(write(go[1], "g", 1) == 1);
	check(waitpid(pid, &status, 0) == pid && !status, "child: %#x", status);
}
