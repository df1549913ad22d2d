/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include "smaps.h"
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

CASE(.what = "the vDSO is where it was, and tells the time without a system call");

typedef int gettime_t(clockid_t, struct timespec *);

static gettime_t *vdso_gettime;

static void *find(const char *name)
{
	uint8_t *base = (uint8_t *)getauxval(AT_SYSINFO_EHDR);
	ElfW(Ehdr) *elf = (void *)base;
	ElfW(Phdr) *segment = (void *)(base + elf->e_phoff);
	ElfW(Dyn) *dynamic = NULL;
	ElfW(Sym) *symbols = NULL;
	const char *strings = NULL;
	uint32_t *hash = NULL;
	size_t count;

	for (int i = 0; i < elf->e_phnum; i++)
		if (segment[i].p_type == PT_DYNAMIC)
			dynamic = (void *)(base + segment[i].p_offset);
	must(dynamic);
	for (; dynamic->d_tag != DT_NULL; dynamic++) {
		if (dynamic->d_tag == DT_SYMTAB)
			symbols = (void *)(base + dynamic->d_un.d_ptr);
		if (dynamic->d_tag == DT_STRTAB)
			strings = (void *)(base + dynamic->d_un.d_ptr);
		if (dynamic->d_tag == DT_HASH)
			hash = (void *)(base + dynamic->d_un.d_ptr);
	}
	must(symbols && strings);
	/* Without DT_HASH: the strings follow the symbols. */
	count = hash ? hash[1] : (size_t)((ElfW(Sym) *)strings - symbols);
	for (size_t i = 0; i < count; i++)
		if (!strcmp(strings + symbols[i].st_name, name))
			return base + symbols[i].st_value;
	return NULL;
}

/*
 * In a child that may make no system call but exit: strict seccomp would allow
 * read and write too, which clock_gettime does not use.
 */
static bool enters_the_kernel(void)
{
	struct timespec t;
	pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (!pid) {
		prctl(PR_SET_SECCOMP, 1);
		syscall(SYS_exit, vdso_gettime(CLOCK_MONOTONIC, &t) ? 1 : 0);
	}
	must(waitpid(pid, &status, 0) == pid);
	return status != 0;
}

static void run(void)
{
	unsigned long base = getauxval(AT_SYSINFO_EHDR);
	struct timespec before, after, kernel;
	char maps[256], flags[256];
	bool entered;

	/* A kernel started with vdso=0. */
	if (!base) {
		ready();
		return;
	}
	vdso_gettime = find("__vdso_clock_gettime");
	must(vdso_gettime);
	/* On some virtual machines the clock needs the kernel. */
	entered = enters_the_kernel();
	must(!vdso_gettime(CLOCK_MONOTONIC, &before));

	ready();

	check(getauxval(AT_SYSINFO_EHDR) == base, "the auxiliary vector has changed");
	check(!memcmp((void *)base, "\177ELF", 4), "there is no vDSO at its place");
	check(smaps_of((void *)base, maps, sizeof(maps), flags, sizeof(flags)) && strstr(maps, "[vdso]"),
	      "it is %s", maps);
	check(!vdso_gettime(CLOCK_MONOTONIC, &after), "clock_gettime failed");
	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &kernel);
	check(after.tv_sec >= before.tv_sec && kernel.tv_sec - after.tv_sec <= 1,
	      "the clock was at %ld, is at %ld, and the kernel's at %ld", before.tv_sec, after.tv_sec,
	      kernel.tv_sec);
	check(entered || !enters_the_kernel(), "clock_gettime is a system call now");
}
