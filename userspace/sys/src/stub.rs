// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The code that makes system calls in another task, and that brings a program back to where it was
//! if its tracer dies meanwhile.
//!
//! It is position-independent. What it needs to know of a thread is in a [`RecoveryFrame`], to which `r15` points. There are
//! two ways in:
//!
//! * [`single`] is a `syscall` instruction for one call, at whose entry and exit the tracer stops the
//!   task.
//! * At the start of the code begins a loop that makes the calls of an array of [`Entry`]: `rbx` is the
//!   first, `rbp` the end of the array, `r13` the process id and, in its upper half, the thread id. It stops at the
//!   first that does not return what it should, and then sends its own thread one of [`SIGNALS`], as `r14` says. A traced
//!   thread stops for a signal that it does not block before anything else happens to it, whatever
//!   the signal's action is: that is how the tracer hears of the end, and nothing of the task is
//!   changed by it (an `int3` would reset an ignored or blocked `SIGTRAP`). If it begins at [`ask`], a few
//!   calls come first that every thread is asked for; their [`Answers`] go to where `r12` points.
//!
//! In both cases the tracer then sets the registers for what comes next. A task runs on behind that
//! place only if its tracer is gone. For a task that is a program's, that is the way back:
//!
//! 1. What the last call made is undone: after a single call, by the call whose number is in `rbx` (or
//!    one of [`undo`]), with what the last one returned and `r12` and `r13` as its arguments; after a
//!    batch, by unmapping [`RecoveryFrame::memory`]. A child that a call has made, with a stack in the first
//!    page, ends instead.
//! 2. All signals are blocked, and what was borrowed is put back to [`RecoveryFrame::place`].
//! 3. If the program was in a system call, it is decided whether that is begun again or fails with
//!    `EINTR`, by the rules of the kernel (arch/x86/kernel/signal.c:handle_signal): whether a signal
//!    waits that has a handler, and how that was installed.
//! 4. The mask is set, in which the handlers then run, on the stack of the program: the stack pointer
//!    is that of the program all the time. The registers come last, by code ([`leave`]) that lies before the frame.
//!
//! [`back`] is where a task is put before its first call. It is an address behind a `syscall` to the
//! kernel, which goes back two bytes to begin a call again: a call in which the task was until then
//! ends there by the kernel's own rules.

mod code;

pub use self::code::{TileConfig, ask, back, code, leave, single, tiles, told};
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

/// Signals that can tell of the end of a batch: their default action is to do nothing, and programs
/// that use them expect them to come at any time. One that waits already would be taken for it, and
/// its `siginfo` be lost.
pub const SIGNALS: [i32; 2] = [libc::SIGURG, libc::SIGWINCH];

/// What is asked of every thread.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Answers {
    /// `PR_GET_TID_ADDRESS`.
    pub tid_address: u64,
    /// `sigaltstack`: a `stack_t`, as pointer, flags, size.
    pub alternate_stack: [u64; 3],
    /// `PR_GET_PDEATHSIG`, an int.
    pub death_signal: u64,
    /// What `PR_GET_SECUREBITS` returned.
    pub securebits: i64,
    /// What `PR_GET_TIMERSLACK` returned.
    pub timer_slack: i64,
    /// What `personality` returned.
    pub personality: i64,
}

/// What a thread is put back to if its tracer dies. Right before it lies [`leave`].
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct RecoveryFrame {
    /// All signals.
    pub all: u64,
    /// The signals that the program blocks.
    pub mask: u64,
    /// The signals that can end the call in which it was: those that it does not block.
    pub open: u64,
    /// One of [`ends`].
    pub ends: u64,
    /// Memory that was mapped for a batch,
    pub memory: u64,
    /// and its length in bytes.
    pub length: u64,
    /// The general registers, in the order of `struct user_regs_struct` up to `rdi`:
    /// r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi.
    pub general: [u64; 15],
    /// The flags.
    pub flags: u64,
    /// Where it goes on,
    pub rip: u64,
    /// and where, with `EINTR` in `rax`, if its call has ended.
    pub rip_ended: u64,
    /// Where memory of the program was borrowed, whose contents are in `spare` then; 0 if none was.
    pub place: u64,
    /// How many bytes of it.
    pub lent: u64,
    /// Room for data of single calls, or for what was borrowed.
    pub spare: [u64; 11],
}

/// Values of `rbx` for a single call that are the numbers of no call.
pub mod undo {
    /// There is nothing to undo.
    pub const NOTHING: i64 = -1;
    /// The call stood for that in which the program was: if a signal ended it, it ended that.
    pub const DECIDES: i64 = -2;
}

/// Values of [`RecoveryFrame::ends`]: which handlers end the call in which the thread was.
pub mod ends {
    /// None; or it was in no call.
    pub const NEVER: u64 = 0;
    /// Those without `SA_RESTART`.
    pub const UNLESS_RESTART: u64 = 1;
    /// All.
    pub const ALWAYS: u64 = 2;
}
