// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The code itself, and its entry points.

use zerocopy_derive::{Immutable, IntoBytes};

use super::{Answers, Entry, RecoveryFrame, ends, undo};

// The layout that the code relies on.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Entry>() == 80);
    assert!(offset_of!(Entry, indirect) == 56);
    assert!(offset_of!(Entry, check) == 60);
    assert!(offset_of!(Entry, wanted) == 64);
    assert!(offset_of!(Entry, result) == 72);
    assert!(offset_of!(RecoveryFrame, all) == 0);
    assert!(offset_of!(RecoveryFrame, mask) == 8);
    assert!(offset_of!(RecoveryFrame, open) == 16);
    assert!(offset_of!(RecoveryFrame, ends) == 24);
    assert!(offset_of!(RecoveryFrame, memory) == 32);
    assert!(offset_of!(RecoveryFrame, length) == 40);
    assert!(offset_of!(RecoveryFrame, general) == 48);
    assert!(offset_of!(RecoveryFrame, flags) == 168);
    assert!(offset_of!(RecoveryFrame, rip) == 176);
    assert!(offset_of!(RecoveryFrame, rip_ended) == 184);
    assert!(offset_of!(RecoveryFrame, place) == 192);
    assert!(offset_of!(RecoveryFrame, lent) == 200);
    assert!(offset_of!(RecoveryFrame, spare) == 208);
    assert!(offset_of!(Answers, tid_address) == 0);
    assert!(offset_of!(Answers, alternate_stack) == 8);
    assert!(offset_of!(Answers, death_signal) == 32);
    assert!(offset_of!(Answers, securebits) == 40);
    assert!(offset_of!(Answers, timer_slack) == 48);
    assert!(offset_of!(Answers, personality) == 56);
};

std::arch::global_asm!(
    ".pushsection .rodata.crust_stub, \"a\", @progbits",
    ".balign 16",
    // An optimised build inlines the functions below into other crates, so the symbols must be
    // global.
    ".globl crust_stub_start, crust_stub_told, crust_stub_single, crust_stub_back, crust_stub_ask",
    ".hidden crust_stub_start, crust_stub_told, crust_stub_single, crust_stub_back, crust_stub_ask",
    ".globl crust_stub_tiles, crust_stub_leave, crust_stub_end",
    ".hidden crust_stub_tiles, crust_stub_leave, crust_stub_end",
    "crust_stub_start:",
    "2:",
    "cmp rbx, rbp",
    "jae 9f",
    // Load the arguments, each as it is or from where it points to.
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
    // Check the result.
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
    // tgkill(process, thread, signal): notify the tracer of the end.
    "9:",
    "mov eax, 234",
    "mov edi, r13d",
    "mov rsi, r13",
    "shr rsi, 32",
    "mov edx, r14d",
    "syscall",
    "crust_stub_told:",
    // From here on, nobody traces us any more. munmap(memory, length).
    "mov rdi, [r15 + 32]",
    "mov rsi, [r15 + 40]",
    "mov eax, 11",
    "jmp 7f",
    // The calls that every thread is asked to make; then a batch, which may be empty.
    "crust_stub_ask:",
    // prctl(PR_GET_TID_ADDRESS, &tid_address): a kernel may lack it.
    "mov qword ptr [r12], 0",
    "mov eax, 157",
    "mov edi, 40",
    "mov rsi, r12",
    "syscall",
    // sigaltstack(NULL, &alternate_stack)
    "mov eax, 131",
    "xor edi, edi",
    "lea rsi, [r12 + 8]",
    "syscall",
    // prctl(PR_GET_PDEATHSIG, &death_signal)
    "mov eax, 157",
    "mov edi, 2",
    "lea rsi, [r12 + 32]",
    "syscall",
    // prctl(PR_GET_SECUREBITS)
    "mov eax, 157",
    "mov edi, 27",
    "syscall",
    "mov [r12 + 40], rax",
    // prctl(PR_GET_TIMERSLACK)
    "mov eax, 157",
    "mov edi, 30",
    "syscall",
    "mov [r12 + 48], rax",
    // personality(0xffffffff)
    "mov eax, 135",
    "mov edi, -1",
    "syscall",
    "mov [r12 + 56], rax",
    "jmp 2b",
    // The kernel allocates room for the AMX tiles of a thread when it first touches the contents of
    // a tile. Loading a configuration does not count, but a configuration with a tile is required.
    "crust_stub_tiles:",
    "ldtilecfg [rbx]",
    "tilezero tmm0",
    "tilerelease",
    "jmp 2b",
    "crust_stub_single:",
    "syscall",
    // Nobody traces us here either. Is this a child? exit_group(0).
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
    // The two bytes before crust_stub_back: the thread was in no call, or in one that is restarted.
    ".byte 0x31, 0xc0", // xor eax, eax
    "crust_stub_back:",
    "mov r13, rax",
    // rt_sigprocmask(SIG_SETMASK, &all, NULL, 8)
    "mov eax, 14",
    "mov edi, 2",
    "mov rsi, r15",
    "xor edx, edx",
    "mov r10d, 8",
    "syscall",
    // Restore borrowed memory.
    "mov rdi, [r15 + 192]",
    "test rdi, rdi",
    "jz 2f",
    "lea rsi, [r15 + 208]",
    "mov rcx, [r15 + 200]",
    "cld",
    "rep movsb",
    "2:",
    // Has the kernel ended the call?
    "cmp r13, {eintr}",
    "je 5f",
    "cmp qword ptr [r15 + 24], {never}",
    "je 6f",
    // rt_sigpending(set, 8), into memory below the red zone.
    "lea r14, [rsp - 192]",
    "mov eax, 127",
    "mov rdi, r14",
    "mov esi, 8",
    "syscall",
    "test rax, rax",
    "jnz 6f",
    "mov rbx, [r15 + 16]",
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
    "cmp qword ptr [r15 + 24], {always}",
    "je 5f",
    "test dword ptr [r14 + 8], {sa_restart}",
    "jnz 6f",
    "5:",
    "lea r12, [r15 - {leave}]",
    "jmp 7f",
    "6:",
    "lea r12, [r15 - {leave} / 2]",
    "7:",
    // From here on nothing may change the flags. No signal can arrive while the stack pointer is in
    // the frame.
    "mov r14, rsp",
    "lea rsp, [r15 + 168]",
    "popfq",
    "mov rsp, r14",
    // rt_sigprocmask(SIG_SETMASK, &mask, NULL, 8)
    "mov eax, 14",
    "mov edi, 2",
    "lea rsi, [r15 + 8]",
    "mov edx, 0",
    "mov r10d, 8",
    "syscall",
    "mov r14, [r15 + 56]",
    "mov r13, [r15 + 64]",
    "mov rbp, [r15 + 80]",
    "mov rbx, [r15 + 88]",
    "mov r11, [r15 + 96]",
    "mov r10, [r15 + 104]",
    "mov r9, [r15 + 112]",
    "mov r8, [r15 + 120]",
    "mov rcx, [r15 + 136]",
    "mov rdx, [r15 + 144]",
    "mov rsi, [r15 + 152]",
    "mov rdi, [r15 + 160]",
    "jmp r12",
    ".balign 16",
    // The last part of the way back lies right before each frame: no register is left to hold the
    // address of the frame.
    "crust_stub_leave:",
    "mov rax, {eintr}",
    "mov r12, [rip + crust_stub_end + 72]",
    "mov r15, [rip + crust_stub_end + 48]",
    "jmp qword ptr [rip + crust_stub_end + 184]",
    ".org crust_stub_leave + {leave} / 2, 0xcc",
    "mov rax, [rip + crust_stub_end + 128]",
    "mov r12, [rip + crust_stub_end + 72]",
    "mov r15, [rip + crust_stub_end + 48]",
    "jmp qword ptr [rip + crust_stub_end + 176]",
    ".org crust_stub_leave + {leave}, 0xcc",
    "crust_stub_end:",
    ".popsection",
    leave = const LEAVE,
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
    static crust_stub_ask: u8;
    static crust_stub_tiles: u8;
    static crust_stub_leave: u8;
    static crust_stub_end: u8;
}

/// The length of [`leave`].
const LEAVE: usize = 64;

/// Returns the offset of a symbol from the start of the code.
fn place(symbol: *const u8) -> u64 {
    symbol as u64 - &raw const crust_stub_start as u64
}

/// Returns the bytes between two symbols.
fn between(from: *const u8, to: *const u8) -> &'static [u8] {
    // SAFETY: this is only called with symbols of the code above, in their order. The bytes between
    // them are constant.
    unsafe { std::slice::from_raw_parts(from, to as usize - from as usize) }
}

/// Returns the code, which begins with the loop that runs a batch.
#[must_use]
pub fn code() -> &'static [u8] {
    between(&raw const crust_stub_start, &raw const crust_stub_leave)
}

/// Returns the end of the way back, which must lie right before each [`RecoveryFrame`].
#[must_use]
pub fn leave() -> &'static [u8] {
    between(&raw const crust_stub_leave, &raw const crust_stub_end)
}

/// Returns where a thread is when its batch has ended, as an offset in [`code`].
#[must_use]
pub fn told() -> u64 {
    place(&raw const crust_stub_told)
}

/// Returns where the `syscall` instruction for single calls is, as an offset in [`code`].
#[must_use]
pub fn single() -> u64 {
    place(&raw const crust_stub_single)
}

/// Returns where a thread is asked for its [`Answers`] before a batch begins, as an offset in
/// [`code`].
#[must_use]
pub fn ask() -> u64 {
    place(&raw const crust_stub_ask)
}

/// Returns where a thread touches its AMX tiles before a batch begins, as an offset in [`code`]; a
/// [`TileConfig`] must be where the batch is.
#[must_use]
pub fn tiles() -> u64 {
    place(&raw const crust_stub_tiles)
}

/// The operand of `ldtilecfg`: the sizes of the AMX tiles.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable)]
pub struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// The bytes in a row of each tile.
    columns: [u16; 16],
    rows: [u8; 16],
}

impl TileConfig {
    /// Only the first tile is configured, with the maximum size.
    pub const ONE_TILE: Self = {
        let (mut columns, mut rows) = ([0; 16], [0; 16]);
        (columns[0], rows[0]) = (64, 16);
        Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            columns,
            rows,
        }
    };
}

/// Returns where the way back begins, as an offset in [`code`].
#[must_use]
pub fn back() -> u64 {
    place(&raw const crust_stub_back)
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    #[test]
    fn the_ways_in() {
        let code = code();
        assert!(code.len() < 768, "{}", code.len());
        assert_eq!((code.len() % 16, leave().len()), (0, LEAVE));
        let two_at = |place: u64| &code[place as usize..][..2];
        assert_eq!(two_at(single()), [0x0f, 0x05]);
        assert_eq!(two_at(told() - 2), [0x0f, 0x05]);
        assert_eq!(two_at(back() - 2), [0x31, 0xc0]);
    }

    #[test]
    fn tiles_are_touched() {
        let touch = [
            [0xc4, 0xe2, 0x78, 0x49, 0x03],
            [0xc4, 0xe2, 0x7b, 0x49, 0xc0],
            [0xc4, 0xe2, 0x78, 0x49, 0xc0],
        ];
        assert_eq!(code()[tiles() as usize..][..15], *touch.as_flattened());
        // Intel's manual defines the layout.
        let mut config = [0; 64];
        (config[0], config[16], config[48]) = (1, 64, 16);
        assert_eq!(TileConfig::ONE_TILE.as_bytes(), config);
    }
}
