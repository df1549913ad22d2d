/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "tool.h"

/*
 * As a user moves a program to another machine: crust dump PID -i - --kill | ssh HOST crust restore -. Client and server
 * are real; the client starts the server for its one connection and talks to it through pipes, so that the case needs
 * no port of the machine. The other machine is this one.
 */
CASE(.what = "a program is moved through ssh: it goes on at the other end, and here if that end has not restored it",
     .drives_itself = true);

#define SSHD "/usr/sbin/sshd"

static char ssh_config[PATH_MAX + 16];

/* A file in the directory of the case, which %1$s stands for in its lines. */
static void write_config(const char *name, const char *lines)
{
	char path[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", case_dir, name);
	file = fopen(path, "we");
	must(file && fprintf(file, lines, case_dir) > 0 && !fclose(file));
}

/* Keys of both sides, and configurations that read no file of the machine or of the user. */
static void set_up_ssh(void)
{
	/* The server wants this place, which Debian makes when it starts the service. */
	must(!mkdir("/run/sshd", 0755) || errno == EEXIST);
	/* The directory of the case is the one in which it runs. */
	must(!system("ssh-keygen -q -t ed25519 -N '' -f host_key && ssh-keygen -q -t ed25519 -N '' -f user_key && "
		     "{ printf 'other-machine '; cat host_key.pub; } >known_hosts"));
	write_config("sshd_config",
		     "HostKey %1$s/host_key\n"
		     "AuthorizedKeysFile %1$s/user_key.pub\n"
		     "PermitRootLogin prohibit-password\n"
		     "StrictModes no\n"
		     "UsePAM no\n");
	write_config("ssh_config",
		     "BatchMode yes\n"
		     "IdentitiesOnly yes\n"
		     "IdentityFile %1$s/user_key\n"
		     "UserKnownHostsFile %1$s/known_hosts\n"
		     "StrictHostKeyChecking yes\n"
		     "ProxyCommand " SSHD " -i -f %1$s/sshd_config -E %1$s/sshd.log\n");
	snprintf(ssh_config, sizeof(ssh_config), "%s/ssh_config", case_dir);
}

/* Dumps the program into a command at the other machine. Returns the client, which ends as that command does. */
static pid_t send_to(const char *command, struct adder *adder, pid_t *dump)
{
	int ends[2];
	pid_t ssh;

	tool_said_nothing();
	must(!pipe2(ends, O_CLOEXEC));
	*dump = tool_piped(-1, ends[1], "dump", adder->number, "-i", "-", "--kill");
	close(ends[1]);
	ssh = program_between(ends[0], -1, (const char *const[]){ "ssh", "-F", ssh_config, "other-machine", command, NULL });
	close(ends[0]);
	return ssh;
}

static void run(void)
{
	char crust[PATH_MAX], restore[PATH_MAX + 32];
	struct adder adder;
	pid_t ssh, dump;
	int end;

	if (access(SSHD, X_OK) || system("command -v ssh ssh-keygen >/dev/null"))
		skip("there is no ssh, or no " SSHD);
	set_up_ssh();
	/* More than the pipes and the window of a connection hold. */
	adder = adder_start(16);
	must(adder_works(&adder));

	ssh = send_to("false", &adder, &dump);
	end = tool_end(ssh);
	check(end == 1, "ssh to who does not restore: %d: %s", end, tool_said());
	end = tool_end(dump);
	check(end == 1 && strstr(tool_said(), "EPIPE"), "dump that nobody reads: %d: %s", end, tool_said());
	check(adder_works(&adder), "the program does not run");
	check(status_of(adder.pid, "TracerPid") == 0, "it is still traced");

	must(realpath(getenv("CRUST"), crust));
	snprintf(restore, sizeof(restore), "exec '%s' restore -", crust);
	ssh = send_to(restore, &adder, &dump);
	tool_dumps(dump, adder.pid);
	for (int i = 0; i < 3; i++)
		check(adder_works(&adder), "the program does not run there: %s", tool_said());
	check(getsid(adder.pid) == adder.pid && status_of(adder.pid, "PPid") != getpid(), "it is not theirs");
	/* The end of the program is that of crust, and comes back through ssh. */
	must(!kill(adder.pid, SIGTERM));
	end = tool_end(ssh);
	check(end == 128 + SIGTERM, "ssh: %d: %s", end, tool_said());
	check(kill(adder.pid, 0) && errno == ESRCH, "it is still there");
}
