// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The code that makes a batch of system calls in another task.
//!
//! It is position-independent and is copied into a page of the task. It makes the calls of an
//! array of [`Entry`], stops at the first that does not return what it should, and then sends its
//! own thread [`Frame::signal`]. A traced thread stops for a signal that it does not block before
//! anything else happens to it, whatever the signal's action is: that is how the tracer hears of
//! the end, and nothing of the task is changed by it (an `int3` would reset an ignored or blocked
//! `SIGTRAP`). The tracer then sets the registers for what comes next.
//!
//! If the tracer was killed meanwhile, the signal does what it does by default, nothing, and the
//! code goes on to put signal mask and registers back from the [`Frame`]: the thread returns to
//! where it was.
//!
//! At the start: `rbx` is the first entry, `rbp` the end of the array, `r13` the process id, `r14`
//! the thread id, `r15` the frame.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One system call of a batch.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Entry {
    /// Its number.
    pub nr: u64,
    /// Its arguments.
    pub args: [u64; 6],
    /// Bit `n`: argument `n` is not `args[n]`, but what is at that address.
    pub indirect: u32,
    /// One of [`check`].
    pub check: u32,
    /// For [`check::EXACTLY`].
    pub wanted: u64,
    /// What it returned.
    pub result: u64,
}

/// Values of [`Entry::check`].
pub mod check {
    /// Whatever it returns, the next call is made.
    pub const NOTHING: u32 = 0;
    /// An error number ends the batch.
    pub const SUCCESS: u32 = 1;
    /// Anything but [`Entry::wanted`](super::Entry::wanted) ends the batch.
    pub const EXACTLY: u32 = 2;
}

/// What the thread is put back to if its tracer dies: see the module's page.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Frame {
    /// The signal that tells of the end of a batch; one whose default action is to do nothing.
    pub signal: u64,
    /// The blocked signals.
    pub mask: u64,
    /// The general registers, in the order of `struct user_regs_struct` up to `rdi`:
    /// r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi.
    pub general: [u64; 15],
    /// Where it goes on.
    pub rip: u64,
    /// Its stack.
    pub rsp: u64,
    /// Room below `flags`, should a signal need a stack while this is the stack pointer.
    pub room: [[u64; 32]; 32],
    /// The flags.
    pub flags: u64,
}

// What the code below knows of the layout.
const _: () = {
    assert!(size_of::<Entry>() == 80);
    assert!(std::mem::offset_of!(Entry, indirect) == 56);
    assert!(std::mem::offset_of!(Entry, check) == 60);
    assert!(std::mem::offset_of!(Entry, wanted) == 64);
    assert!(std::mem::offset_of!(Entry, result) == 72);
    assert!(std::mem::offset_of!(Frame, mask) == 8);
    assert!(std::mem::offset_of!(Frame, general) == 16);
    assert!(std::mem::offset_of!(Frame, rip) == 136);
    assert!(std::mem::offset_of!(Frame, rsp) == 144);
    assert!(std::mem::offset_of!(Frame, flags) == 152 + 8192);
};

std::arch::global_asm!(
    ".pushsection .rodata.crust_stub, \"a\", @progbits",
    ".balign 16",
    // An optimised build inlines the functions below into other crates.
    ".globl crust_stub_start, crust_stub_told, crust_stub_single, crust_stub_end",
    ".hidden crust_stub_start, crust_stub_told, crust_stub_single, crust_stub_end",
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
    "mov rdx, [r15]",
    "syscall",
    "crust_stub_told:",
    // Nobody traces us any more. rt_sigprocmask(SIG_SETMASK, &mask, NULL, 8), then the registers.
    "mov eax, 14",
    "mov edi, 2",
    "lea rsi, [r15 + 8]",
    "xor edx, edx",
    "mov r10d, 8",
    "syscall",
    "lea rsp, [r15 + 152 + 8192]",
    "popfq",
    // The place to return to goes below the red zone.
    "mov rsp, [r15 + 144]",
    "lea rsp, [rsp - 136]",
    "mov rax, [r15 + 136]",
    "mov [rsp], rax",
    "mov r14, [r15 + 24]",
    "mov r13, [r15 + 32]",
    "mov r12, [r15 + 40]",
    "mov rbp, [r15 + 48]",
    "mov rbx, [r15 + 56]",
    "mov r11, [r15 + 64]",
    "mov r10, [r15 + 72]",
    "mov r9, [r15 + 80]",
    "mov r8, [r15 + 88]",
    "mov rax, [r15 + 96]",
    "mov rcx, [r15 + 104]",
    "mov rdx, [r15 + 112]",
    "mov rsi, [r15 + 120]",
    "mov rdi, [r15 + 128]",
    "mov r15, [r15 + 16]",
    "ret 128",
    "crust_stub_single:",
    "syscall",
    "crust_stub_end:",
    ".popsection",
);

unsafe extern "C" {
    static crust_stub_start: u8;
    static crust_stub_told: u8;
    static crust_stub_single: u8;
    static crust_stub_end: u8;
}

/// The code, which begins with what runs a batch.
#[must_use]
pub fn code() -> &'static [u8] {
    let (start, end) = (&raw const crust_stub_start, &raw const crust_stub_end);
    // SAFETY: the bytes between the two symbols are those that were assembled above; they are
    // constant.
    unsafe { std::slice::from_raw_parts(start, end as usize - start as usize) }
}

/// Where in [`code`] a thread stands when its batch has come to an end.
#[must_use]
pub fn told() -> u64 {
    let (start, told) = (&raw const crust_stub_start, &raw const crust_stub_told);
    (told as usize - start as usize) as u64
}

/// Where in [`code`] there is a `syscall` instruction for single calls; nothing follows it.
#[must_use]
pub fn single() -> u64 {
    let (start, single) = (&raw const crust_stub_start, &raw const crust_stub_single);
    (single as usize - start as usize) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_ends_in_a_system_call() {
        let code = code();
        assert!(code.len() < 512, "{}", code.len());
        assert_eq!(&code[single() as usize..], [0x0f, 0x05]);
    }
}
