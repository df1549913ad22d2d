/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"

#include <sys/file.h>
#include <sys/xattr.h>

CASE(.what = "deleted files keep contents, holes, size, owner, mode, times, attributes, offsets, flags, locks, and stay deleted");

/* Makes a file and deletes it. */
static int deleted(const char *name, int flags)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", case_dir, name);
	fd = open(path, flags | O_CREAT | O_EXCL, 0640);
	must(fd >= 0 && !unlink(path));
	return fd;
}

static int again(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags);
}

static void run(void)
{
	const struct timespec times[2] = { { 1000000000, 1 }, { 1500000000, 999999999 } };
	int fd = deleted("gone", O_RDWR), log = deleted("journal", O_WRONLY | O_APPEND), copy = dup(fd);
	int reader = again(fd, O_RDONLY), path_only = again(fd, O_PATH), nameless, kept, relinked, status;
	char path[PATH_MAX], other[PATH_MAX + 16], link[PATH_MAX] = "", page[PAGE], text[64];
	struct flock lock = { .l_type = F_WRLCK, .l_start = 10, .l_len = 5 };
	/* user::rwx user:99:r-x group::r-x mask::r-x other::--- */
	const struct __attribute__((packed)) {
		uint16_t tag, perm;
		uint32_t id;
	} entries[] = { { 1, 7, -1 }, { 2, 5, 99 }, { 4, 5, -1 }, { 16, 5, -1 }, { 32, 0, -1 } };
	/* CAP_NET_RAW, effective. */
	static const uint32_t capability[5] = { 0x02000001, 1 << 13 };
	uint32_t capability_now[5];
	char list[4 + sizeof(entries)] = { 2 }, list_now[64];
	struct stat was, is;
	pid_t child;

	memcpy(list + 4, entries, sizeof(entries));
	must(copy >= 0 && reader >= 0 && path_only >= 0);
	fill(page, PAGE, 1);
	must(pwrite(fd, page, PAGE, 100 * PAGE) == PAGE && pwrite(fd, "begin", 5, 0) == 5);
	must(!ftruncate(fd, 200 * PAGE + 7) && lseek(fd, 4321, SEEK_SET) == 4321);
	must(!fchown(fd, 12, 34) && !fsetxattr(fd, "user.case", "value", 5, 0));
	must(!fsetxattr(fd, "security.capability", capability, sizeof(capability), 0));
	must(!fsetxattr(fd, "system.posix_acl_access", list, sizeof(list), 0) && !fchmod(fd, 04750));
	must(!futimens(fd, times) && !fstat(fd, &was));
	must(write(log, "one\n", 4) == 4 && lseek(reader, 100 * PAGE, SEEK_SET));
	must(!flock(fd, LOCK_EX) && !fcntl(log, F_SETLK, &lock));
	/* One that never had a name, and may get one. */
	nameless = open(case_dir, O_TMPFILE | O_RDWR, 0600);
	must(nameless >= 0 && write(nameless, "late", 4) == 4);
	/* One that has lost its name, and got it again. */
	snprintf(path, sizeof(path), "%s/again", case_dir);
	snprintf(other, sizeof(other), "%s.other", path);
	relinked = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	must(relinked >= 0 && !linkat(AT_FDCWD, path, AT_FDCWD, other, 0) && !unlink(path) && !rename(other, path));
	/* Another file has its name now. */
	snprintf(path, sizeof(path), "%s/journal", case_dir);
	kept = open(path, O_RDWR | O_CREAT, 0600);
	must(kept >= 0 && write(kept, "another", 7) == 7);
	child = fork();
	must(child >= 0);
	if (!child) {
		await_file("go");
		check(lseek(copy, 1, SEEK_CUR) == 4322, "offset in the child: %ld", lseek(copy, 0, SEEK_CUR));
		/* The child's own process has no POSIX lock, and the lock of the parent is in its way. */
		check(fcntl(log, F_SETLK, &lock) && (errno == EAGAIN || errno == EACCES), "the lock is free");
		_exit(!!case_failures);
	}

	ready();

	check(waitpid(child, &status, 0) == child && status == 0, "child: %x", status);
	must(!fstat(fd, &is));
	check(is.st_nlink == 0, "%lu links", is.st_nlink);
	check(is.st_dev == was.st_dev, "another device");
	check(is.st_size == was.st_size && is.st_blocks == was.st_blocks, "%ld bytes in %ld blocks, and not %ld in %ld",
	      is.st_size, is.st_blocks, was.st_size, was.st_blocks);
	check(is.st_uid == 12 && is.st_gid == 34 && is.st_mode == was.st_mode, "mode %o of %u:%u", is.st_mode,
	      is.st_uid, is.st_gid);
	check(!memcmp(&is.st_atim, &times[0], sizeof(times[0])) && !memcmp(&is.st_mtim, &times[1], sizeof(times[1])),
	      "times %ld.%ld %ld.%ld", is.st_atim.tv_sec, is.st_atim.tv_nsec, is.st_mtim.tv_sec, is.st_mtim.tv_nsec);
	check(fgetxattr(fd, "user.case", text, sizeof(text)) == 5 && !memcmp(text, "value", 5), "attribute");
	check(fgetxattr(fd, "system.posix_acl_access", list_now, sizeof(list_now)) == sizeof(list) &&
	      !memcmp(list, list_now, sizeof(list)), "access control list");
	check(fgetxattr(fd, "security.capability", capability_now, sizeof(capability_now)) == sizeof(capability) &&
	      !memcmp(capability, capability_now, sizeof(capability)), "capabilities");
	check(fgetxattr(log, "system.posix_acl_access", list_now, sizeof(list_now)) < 0, "a list of the other");
	check(lseek(fd, 0, SEEK_CUR) == 4322, "offset %ld", lseek(fd, 0, SEEK_CUR));
	check(lseek(reader, 0, SEEK_CUR) == 100 * PAGE && read(reader, page, PAGE) == (ssize_t)PAGE, "the reader");
	check(!spoiled(page, PAGE, 1), "contents");
	check(pread(reader, page, 6, 0) == 6 && !memcmp(page, "begin", 6), "the beginning: %.5s", page);
	snprintf(text, sizeof(text), "/proc/self/fd/%d", fd);
	must(readlink(text, link, sizeof(link) - 1) > 0);
	check(strlen(link) > 10 && !strcmp(link + strlen(link) - 10, " (deleted)") &&
	      !strncmp(link, case_dir, strlen(case_dir)), "link %s", link);
	check((fcntl(reader, F_GETFL) & O_ACCMODE) == O_RDONLY && fcntl(path_only, F_GETFL) & O_PATH, "flags");
	check((fcntl(log, F_GETFL) & (O_ACCMODE | O_APPEND)) == (O_WRONLY | O_APPEND), "flags %o", fcntl(log, F_GETFL));
	check(flock(reader, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK, "the flock is gone");
	check(!flock(copy, LOCK_UN) && !flock(reader, LOCK_SH | LOCK_NB), "the flock is not the descriptor's");

	check(write(log, "two\n", 4) == 4 && !fstat(log, &is) && is.st_size == 8, "log of %ld bytes", is.st_size);
	check(pread(kept, page, 8, 0) == 7 && !memcmp(page, "another", 7), "the file that has its name: %.8s", page);
	must(!stat(path, &is));
	check(is.st_size == 7, "%ld bytes", is.st_size);

	snprintf(path, sizeof(path), "%s/late", case_dir);
	snprintf(text, sizeof(text), "/proc/self/fd/%d", nameless);
	unlink(path);
	check(!linkat(AT_FDCWD, text, AT_FDCWD, path, AT_SYMLINK_FOLLOW), "it cannot get a name: %s", strerror(errno));
	check(!stat(path, &is) && is.st_size == 4, "%ld bytes", is.st_size);
	unlink(path);

	must(!fstat(relinked, &is));
	check(is.st_nlink == 1, "%lu links of the one that got its name again", is.st_nlink);
}
