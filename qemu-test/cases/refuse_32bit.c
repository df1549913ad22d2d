/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#include "case.h"
#include <elf.h>
#include <stddef.h>

/*
 * The program is made here, byte by byte, so that nobody needs a compiler and
 * a library for such programs.
 */
CASE(.what = "a 32-bit program in the tree is refused, and goes on", .refused = "32-bit code");

/* Makes a file "runs", waits for a file "go", and ends with status 7. */
__asm__(".pushsection .rodata\n"
	".code32\n"
	"program_start:\n"
	/* creat("runs", 0600) */
	"	movl $8, %eax\n"
	"	movl $0x10000 + runs - program_start, %ebx\n"
	"	movl $0600, %ecx\n"
	"	int $0x80\n"
	/* poll(NULL, 0, 5) until access("go", F_OK) is 0 */
	"1:	movl $168, %eax\n"
	"	xorl %ebx, %ebx\n"
	"	xorl %ecx, %ecx\n"
	"	movl $5, %edx\n"
	"	int $0x80\n"
	"	movl $33, %eax\n"
	"	movl $0x10000 + go - program_start, %ebx\n"
	"	xorl %ecx, %ecx\n"
	"	int $0x80\n"
	"	testl %eax, %eax\n"
	"	jnz 1b\n"
	/* exit(7) */
	"	movl $1, %eax\n"
	"	movl $7, %ebx\n"
	"	int $0x80\n"
	"runs:	.asciz \"runs\"\n"
	"go:	.asciz \"go\"\n"
	"program_end:\n"
	".code64\n"
	".popsection\n");

extern const uint8_t program_start[], program_end[];

/* An ELF file of one segment, at 64 KiB, that begins with the code. */
static void write_program(const char *path)
{
	size_t length = program_end - program_start;
	struct {
		Elf32_Ehdr elf;
		Elf32_Phdr segment;
	} head = {
		.elf = {
			.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC,
			.e_machine = EM_386,
			.e_version = EV_CURRENT,
			.e_entry = 0x10000,
			.e_phoff = offsetof(__typeof__(head), segment),
			.e_ehsize = sizeof(Elf32_Ehdr),
			.e_phentsize = sizeof(Elf32_Phdr),
			.e_phnum = 1,
		},
		.segment = {
			.p_type = PT_LOAD,
			.p_offset = 4096,
			.p_vaddr = 0x10000,
			.p_filesz = length,
			.p_memsz = length,
			.p_flags = PF_R | PF_X,
			.p_align = 4096,
		},
	};
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	must(fd >= 0 && write(fd, &head, sizeof(head)) == sizeof(head));
	must(pwrite(fd, program_start, length, 4096) == (ssize_t)length);
	close(fd);
}

static void run(void)
{
	int status;
	pid_t pid;

	write_program("program");
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		execl("program", "program", NULL);
		_exit(2);
	}
	await_program(pid);
	await_file("runs");

	ready();

	check(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7, "its end: %x", status);
}
