// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The code itself, and where one gets into it.

use super::{Entry, Frame, ends, undo};

// What the code knows of the layout.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Entry>() == 80);
    assert!(offset_of!(Entry, indirect) == 56);
    assert!(offset_of!(Entry, check) == 60);
    assert!(offset_of!(Entry, wanted) == 64);
    assert!(offset_of!(Entry, result) == 72);
    assert!(offset_of!(Frame, all) == 0);
    assert!(offset_of!(Frame, mask) == 8);
    assert!(offset_of!(Frame, open) == 16);
    assert!(offset_of!(Frame, ends) == 24);
    assert!(offset_of!(Frame, memory) == 32);
    assert!(offset_of!(Frame, length) == 40);
    assert!(offset_of!(Frame, place) == 48);
    assert!(offset_of!(Frame, lent) == 56);
    assert!(offset_of!(Frame, general) == 64);
    assert!(offset_of!(Frame, flags) == 184);
    assert!(offset_of!(Frame, rip) == 192);
    assert!(offset_of!(Frame, rip_ended) == 200);
    assert!(size_of::<Frame>() == 296);
};

std::arch::global_asm!(
    ".pushsection .rodata.crust_stub, \"a\", @progbits",
    ".balign 16",
    // An optimised build inlines the functions below into other crates.
    ".globl crust_stub_start, crust_stub_told, crust_stub_single, crust_stub_back, crust_stub_frame",
    ".hidden crust_stub_start, crust_stub_told, crust_stub_single, crust_stub_back, crust_stub_frame",
    "crust_stub_start:",
    "2:",
    "cmp rbx, rbp",
    "jae 9f",
    // The arguments, each as it is or fetched from where it points to.
    "mov r12d, [rbx + 56]",
    "mov rdi, [rbx + 8]",
    "test r12d, 1",
    "jz 3f",
    "mov rdi, [rdi]",
    "3:",
    "mov rsi, [rbx + 16]",
    "test r12d, 2",
    "jz 3f",
    "mov rsi, [rsi]",
    "3:",
    "mov rdx, [rbx + 24]",
    "test r12d, 4",
    "jz 3f",
    "mov rdx, [rdx]",
    "3:",
    "mov r10, [rbx + 32]",
    "test r12d, 8",
    "jz 3f",
    "mov r10, [r10]",
    "3:",
    "mov r8, [rbx + 40]",
    "test r12d, 16",
    "jz 3f",
    "mov r8, [r8]",
    "3:",
    "mov r9, [rbx + 48]",
    "test r12d, 32",
    "jz 3f",
    "mov r9, [r9]",
    "3:",
    "mov rax, [rbx]",
    "syscall",
    "mov [rbx + 72], rax",
    // Is it right?
    "mov ecx, [rbx + 60]",
    "test ecx, ecx",
    "jz 5f",
    "cmp ecx, 2",
    "je 4f",
    "cmp rax, -4095",
    "jae 9f",
    "jmp 5f",
    "4:",
    "cmp rax, [rbx + 64]",
    "jne 9f",
    "5:",
    "add rbx, 80",
    "jmp 2b",
    // tgkill(process, thread, signal): the tracer hears of the end.
    "9:",
    "mov eax, 234",
    "mov edi, r13d",
    "mov esi, r14d",
    "mov edx, r15d",
    "syscall",
    "crust_stub_told:",
    // From here on nobody traces us any more. munmap(memory, length).
    "mov rdi, [rip + crust_stub_frame + 32]",
    "mov rsi, [rip + crust_stub_frame + 40]",
    "mov eax, 11",
    "jmp 7f",
    "crust_stub_single:",
    "syscall",
    // Nor here. Is this a child? exit_group(0).
    "cmp rsp, 4096",
    "jae 5f",
    "mov eax, 231",
    "xor edi, edi",
    "syscall",
    // Undo the call.
    "5:",
    "cmp rbx, {decides}",
    "je crust_stub_back",
    "cmp rbx, {nothing}",
    "je 8f",
    "cmp rax, -4095",
    "jae 8f",
    "mov rdi, rax",
    "mov rsi, r12",
    "mov rdx, r13",
    "xor r10d, r10d",
    "mov eax, ebx",
    "7:",
    "syscall",
    "8:",
    // The two bytes before crust_stub_back: it was in no call, or in one that is begun again.
    ".byte 0x31, 0xc0", // xor eax, eax
    "crust_stub_back:",
    "mov r15, rax",
    // rt_sigprocmask(SIG_SETMASK, &all, NULL, 8)
    "mov eax, 14",
    "mov edi, 2",
    "lea rsi, [rip + crust_stub_frame + 0]",
    "xor edx, edx",
    "mov r10d, 8",
    "syscall",
    // What was borrowed.
    "mov rdi, [rip + crust_stub_frame + 48]",
    "test rdi, rdi",
    "jz 2f",
    "lea rsi, [rip + crust_stub_frame + {lent}]",
    "mov rcx, [rip + crust_stub_frame + 56]",
    "cld",
    "rep movsb",
    "2:",
    // Has the kernel ended the call?
    "cmp r15, {eintr}",
    "je 5f",
    "cmp qword ptr [rip + crust_stub_frame + 24], {never}",
    "je 6f",
    // rt_sigpending(set, 8), with some room below the red zone.
    "lea r14, [rsp - 192]",
    "mov eax, 127",
    "mov rdi, r14",
    "mov esi, 8",
    "syscall",
    "test rax, rax",
    "jnz 6f",
    "mov rbx, [rip + crust_stub_frame + 16]",
    "and rbx, [r14]",
    // The first of them that has a handler decides. rt_sigaction(signal, NULL, action, 8)
    "3:",
    "bsf rdi, rbx",
    "jz 6f",
    "btr rbx, rdi",
    "inc edi",
    "mov eax, 13",
    "xor esi, esi",
    "mov rdx, r14",
    "mov r10d, 8",
    "syscall",
    "test rax, rax",
    "jnz 3b",
    // SIG_DFL, SIG_IGN
    "cmp qword ptr [r14], 1",
    "jbe 3b",
    "cmp qword ptr [rip + crust_stub_frame + 24], {always}",
    "je 5f",
    "test dword ptr [r14 + 8], {sa_restart}",
    "jnz 6f",
    "5:",
    "lea r12, [rip + 5f]",
    "jmp 7f",
    "6:",
    "lea r12, [rip + 6f]",
    "7:",
    // From here on nothing may change the flags. No signal can come while the stack is here.
    "mov r14, rsp",
    "lea rsp, [rip + crust_stub_frame + 184]",
    "popfq",
    "mov rsp, r14",
    // rt_sigprocmask(SIG_SETMASK, &mask, NULL, 8)
    "mov eax, 14",
    "mov edi, 2",
    "lea rsi, [rip + crust_stub_frame + 8]",
    "mov edx, 0",
    "mov r10d, 8",
    "syscall",
    "mov r15, [rip + crust_stub_frame + 64]",
    "mov r14, [rip + crust_stub_frame + 72]",
    "mov r13, [rip + crust_stub_frame + 80]",
    "mov rbp, [rip + crust_stub_frame + 96]",
    "mov rbx, [rip + crust_stub_frame + 104]",
    "mov r11, [rip + crust_stub_frame + 112]",
    "mov r10, [rip + crust_stub_frame + 120]",
    "mov r9, [rip + crust_stub_frame + 128]",
    "mov r8, [rip + crust_stub_frame + 136]",
    "mov rcx, [rip + crust_stub_frame + 152]",
    "mov rdx, [rip + crust_stub_frame + 160]",
    "mov rsi, [rip + crust_stub_frame + 168]",
    "mov rdi, [rip + crust_stub_frame + 176]",
    "jmp r12",
    "5:",
    "mov rax, {eintr}",
    "mov r12, [rip + crust_stub_frame + 88]",
    "jmp qword ptr [rip + crust_stub_frame + 200]",
    "6:",
    "mov rax, [rip + crust_stub_frame + 144]",
    "mov r12, [rip + crust_stub_frame + 88]",
    "jmp qword ptr [rip + crust_stub_frame + 192]",
    ".balign 16",
    "crust_stub_frame:",
    ".popsection",
    lent = const size_of::<Frame>(),
    nothing = const undo::NOTHING,
    decides = const undo::DECIDES,
    eintr = const -libc::EINTR,
    never = const ends::NEVER,
    always = const ends::ALWAYS,
    sa_restart = const libc::SA_RESTART,
);

unsafe extern "C" {
    static crust_stub_start: u8;
    static crust_stub_told: u8;
    static crust_stub_single: u8;
    static crust_stub_back: u8;
    static crust_stub_frame: u8;
}

/// How far a symbol is from the start of the code.
fn place(symbol: *const u8) -> u64 {
    symbol as u64 - &raw const crust_stub_start as u64
}

/// The code, which begins with what runs a batch. A [`Frame`] belongs right behind it.
#[must_use]
pub fn code() -> &'static [u8] {
    let length = place(&raw const crust_stub_frame) as usize;
    // SAFETY: the bytes between the two symbols are those that were assembled above; they are
    // constant.
    unsafe { std::slice::from_raw_parts(&raw const crust_stub_start, length) }
}

/// Where a thread stands when its batch has come to an end, from the start of [`code`].
#[must_use]
pub fn told() -> u64 {
    place(&raw const crust_stub_told)
}

/// Where there is a `syscall` instruction for single calls, from the start of [`code`].
#[must_use]
pub fn single() -> u64 {
    place(&raw const crust_stub_single)
}

/// Where the way back begins, from the start of [`code`].
#[must_use]
pub fn back() -> u64 {
    place(&raw const crust_stub_back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_in() {
        let code = code();
        assert!(code.len() + size_of::<Frame>() < 1024, "{}", code.len());
        assert_eq!(code.len() % 16, 0);
        let two_at = |place: u64| &code[place as usize..][..2];
        assert_eq!(two_at(single()), [0x0f, 0x05]);
        assert_eq!(two_at(told() - 2), [0x0f, 0x05]);
        assert_eq!(two_at(back() - 2), [0x31, 0xc0]);
    }
}
