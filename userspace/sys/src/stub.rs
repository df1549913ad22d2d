// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Code that makes system calls in another task, and that brings a program back to where it was if
//! its tracer dies meanwhile.
//!
//! The code is position-independent. The data it needs for a thread is in a [`RecoveryFrame`], to
//! which `r15` points. There are two entry points:
//!
//! * [`single`] is a `syscall` instruction for one call, at whose entry and exit the tracer stops
//!   the task.
//! * At the start of the code is a loop that makes the calls of an array of [`Entry`]: `rbx` is the
//!   first entry, `rbp` the end of the array, `r13` the process id and, in its upper half, the
//!   thread id. The loop stops at the first call that does not return what it should, or at the
//!   end, and then sends its own thread one of [`SIGNALS`], as `r14` says. A traced thread stops
//!   for a signal that it does not block before anything else happens, whatever the signal's action
//!   is: that notifies the tracer, and changes nothing in the task (an `int3` would reset an
//!   ignored or blocked `SIGTRAP`). If the task starts at [`ask`] instead, a few calls that every
//!   thread is asked to make come first; their [`Answers`] are written to where `r12` points.
//!
//! In both cases the tracer then sets the registers for the next step. A task continues past that
//! place only if its tracer is gone. For a task that belongs to a program, what follows is the way
//! back:
//!
//! 1. The effect of the last call is undone: after a single call, by the call whose number is in
//!    `rbx` (or one of [`undo`]), with the result of the last call and `r12` and `r13` as its
//!    arguments; after a batch, by unmapping [`RecoveryFrame::memory`]. A child that a call has
//!    created, recognised by its stack in the first page, exits instead.
//! 2. All signals are blocked, and borrowed memory is restored at [`RecoveryFrame::place`].
//! 3. If the program was in a system call, the code decides whether that is restarted or fails with
//!    `EINTR`, by the rules of the kernel (arch/x86/kernel/signal.c:handle_signal): whether a signal
//!    with a handler is pending, and how the handler was installed.
//! 4. The signal mask is set, with which the handlers then run, on the stack of the program: the
//!    stack pointer is that of the program all the time. The registers come last, by code
//!    ([`leave`]) that lies before the frame.
//!
//! [`back`] is where a task is put before its first call. To the kernel it is an address after a
//! `syscall` instruction, from which it goes back two bytes to restart a call: a call that the task
//! was in until then ends there by the kernel's own rules.

mod code;

pub use self::code::{TileConfig, ask, back, code, leave, single, tiles, told};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A system call of a batch.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Entry {
    /// The number of the call.
    pub nr: u64,
    /// The arguments.
    pub args: [u64; 6],
    /// Bit `n` is set if argument `n` is not `args[n]` itself, but the value at that address.
    pub indirect: u32,
    /// One of [`check`].
    pub check: u32,
    /// The expected result, for [`check::EXACTLY`].
    pub wanted: u64,
    /// The result of the call.
    pub result: u64,
}

/// Values of [`Entry::check`].
pub mod check {
    /// The next call is made whatever this one returns.
    pub const NOTHING: u32 = 0;
    /// An error number ends the batch.
    pub const SUCCESS: u32 = 1;
    /// Any result but [`Entry::wanted`](super::Entry::wanted) ends the batch.
    pub const EXACTLY: u32 = 2;
}

/// Signals that can mark the end of a batch: their default action is to do nothing, and programs
/// that use them expect them to arrive at any time. One that is already pending would be taken for
/// that mark, and its `siginfo` would be lost.
pub const SIGNALS: [i32; 2] = [libc::SIGURG, libc::SIGWINCH];

/// The answers to the calls that every thread is asked to make.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Answers {
    /// The result of `PR_GET_TID_ADDRESS`.
    pub tid_address: u64,
    /// The result of `sigaltstack`: a `stack_t`, as pointer, flags and size.
    pub alternate_stack: [u64; 3],
    /// The result of `PR_GET_PDEATHSIG`, an int.
    pub death_signal: u64,
    /// The return value of `PR_GET_SECUREBITS`.
    pub securebits: i64,
    /// The return value of `PR_GET_TIMERSLACK`.
    pub timer_slack: i64,
    /// The return value of `personality`.
    pub personality: i64,
}

/// The state to which a thread is restored if its tracer dies. [`leave`] lies right before it.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct RecoveryFrame {
    /// A set of all signals.
    pub all: u64,
    /// The signal mask of the program.
    pub mask: u64,
    /// The signals that can end the call that the thread was in: those that it does not block.
    pub open: u64,
    /// One of [`ends`].
    pub ends: u64,
    /// The address of memory that was mapped for a batch.
    pub memory: u64,
    /// The length of that memory in bytes.
    pub length: u64,
    /// The general registers, in the order of `struct user_regs_struct` up to `rdi`:
    /// r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi.
    pub general: [u64; 15],
    /// The flags.
    pub flags: u64,
    /// The instruction pointer at which the thread continues.
    pub rip: u64,
    /// The instruction pointer, with `EINTR` in `rax`, if its call has ended.
    pub rip_ended: u64,
    /// The address of borrowed memory of the program, whose contents are then in `spare`; 0 if none
    /// was borrowed.
    pub place: u64,
    /// The number of bytes borrowed.
    pub lent: u64,
    /// Room for data of single calls, or for the contents of borrowed memory.
    pub spare: [u64; 11],
}

/// Special values of `rbx` for a single call, which are not call numbers.
pub mod undo {
    /// There is nothing to undo.
    pub const NOTHING: i64 = -1;
    /// The call stood in for the one that the program was in: if a signal ended it, it ended that
    /// one.
    pub const DECIDES: i64 = -2;
}

/// Values of [`RecoveryFrame::ends`]: which handlers end the call that the thread was in.
pub mod ends {
    /// None; or the thread was not in a call.
    pub const NEVER: u64 = 0;
    /// Those without `SA_RESTART`.
    pub const UNLESS_RESTART: u64 = 1;
    /// All.
    pub const ALWAYS: u64 = 2;
}
