// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Remote system calls: a stopped task is made to execute one.
//!
//! The task is pointed at a `syscall` instruction, with the number and the arguments in its
//! registers; it stops at the entry to and the exit from the call. [`Caller`] does that.
//!
//! [`Remote`] is for a program that must continue as if nothing had happened, even if crust is
//! killed at any instant. In that case the kernel resumes the program where it is stopped. So it
//! must always be stopped where it may continue: either it has its own registers and its own signal
//! mask, or it is at a place in the code of its [`CodeCave`] from which the way back begins
//! ([`stub`]), and its [`RecoveryFrame`] there holds the data for that. The order of requests
//! follows from this:
//!
//! * First the frame is written, then the registers are set so that they lead to [`stub::back`],
//!   and only then the mask that blocks the program's signals: if a signal arrives between the last
//!   two, it finds its handler, a real stack, and the kernel's rules for the call that it ends.
//! * At the end those registers are set again, then the program's mask, then its registers. A task
//!   that is released passes the place where the kernel checks for signals and for calls to
//!   restart, because it is woken as if by a signal (kernel/ptrace.c:`__ptrace_unlink`).
//! * The effect of a call is undone on the way back ([`Undo`]) until somebody else takes
//!   responsibility for it.
//!
//! If crust dies, these are lost: a `SIGSTOP` that arrived in the middle of a call, or one of
//! [`stub::SIGNALS`] that arrived in the middle of a batch.
//!
//! The program's seccomp filters are suspended while it is traced, and are in force on the way
//! back; syscall user dispatch has to be switched off, and is lost if crust dies.
//!
//! Where there is no room after the vDSO, calls are made at an instruction of the vDSO itself, one
//! by one, and the program is not safe against the death of crust during those microseconds.

mod caller;
mod code_cave;
mod dispatch;
mod recovery;

use crust_arch::sigmask_syscalls;
use crust_model::{Error, Result};
use crust_sys::ptrace::{self, UserRegs};
use crust_sys::stub::{self, RecoveryFrame, undo};
use crust_sys::{RemoteAddr, memory, signal, word};
use nix::errno::Errno;
use zerocopy::IntoBytes;

pub use self::caller::{Caller, await_event_stop, error_number, stopped};
pub(crate) use self::caller::{Deferred, into_event_stop};
pub use self::code_cave::{CodeCave, Slot};
pub use self::dispatch::Dispatch;
use self::recovery::way_back;
use crate::frozen_process::{FrozenProcess, FrozenThread};

/// The signal that marks the end of a batch of a restored task.
pub const END_OF_BATCH: i32 = stub::SIGNALS[0];

/// The signal mask of a restored task: all signals but [`END_OF_BATCH`].
pub(crate) const BLOCKED: u64 = !signal::bit(END_OF_BATCH);

/// A call that undoes another call if crust dies before it has seen its result. That result is the
/// first argument.
#[derive(Clone, Copy, Debug)]
pub struct Undo {
    /// The number of the call.
    pub nr: i64,
    /// The second and third argument; the others are 0.
    pub rest: [u64; 2],
}

/// A frozen thread of a program, borrowed for system calls. `Drop` restores registers, signal mask
/// and everything else, and leaves the thread in an event stop as before.
#[derive(Debug)]
pub struct Remote<'a> {
    caller: Caller,
    slot: Option<Slot<'a>>,
    registers: UserRegs,
    mask: u64,
    /// The signal mask of the call that the thread is in, if that has one.
    own_mask: Option<u64>,
    /// The syscall user dispatch of the thread, which is suspended meanwhile.
    dispatch: Dispatch,
    /// The address of memory that was borrowed, and its contents.
    lent: Option<(RemoteAddr, Vec<u8>)>,
    deferred: Deferred,
    at: At,
}

/// How far the borrowing of a thread has progressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Nothing has been changed yet.
    Prepared,
    /// The thread is borrowed.
    Borrowed,
    /// The thread has been given its own state again, and is about to stop.
    Leaving,
    /// The thread is stopped as before.
    Over,
}

impl<'a> Remote<'a> {
    /// Borrows a thread. Its seccomp filters must be suspended ([`FrozenProcess::filters_rest`]).
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the process has no vDSO; [`Error::Task`], [`Error::Gone`].
    pub fn new(
        process: &FrozenProcess,
        thread: &FrozenThread,
        cave: Option<&'a CodeCave>,
    ) -> Result<Self> {
        let slot = cave.map(|cave| cave.slot(0));
        let mut remote = Self::prepare(process, thread, slot)?;
        remote.begin(u64::MAX)?;
        Ok(remote)
    }

    /// Prepares what [`new`](Self::new) does, but does not change registers or signal mask yet.
    /// Each thread of a process that is borrowed at the same time needs a slot of its own.
    pub fn prepare(
        process: &FrozenProcess,
        thread: &FrozenThread,
        slot: Option<Slot<'a>>,
    ) -> Result<Self> {
        let tid = thread.tid;
        let Some(instruction) = process.syscall_insn else {
            return Err(Error::malformed(
                format!("process {}", process.pid),
                "it has no vDSO with a syscall instruction",
            ));
        };
        let own_mask = if sigmask_syscalls::in_call(&thread.registers) {
            let name = format!("task/{tid}/status");
            let status = crust_proc::Fields::new(crust_proc::read_text(&process.proc, tid, &name)?);
            status.hex("SigBlk").filter(|&own| own != thread.mask)
        } else {
            None
        };
        let mut template = thread.registers;
        template.rbx = word::from_long(undo::NOTHING);
        if let Some(slot) = slot {
            template.r15 = slot.frame(0).0;
        }
        Ok(Self {
            caller: Caller {
                pid: process.pid,
                tid,
                instruction: slot.map_or(instruction, |slot| slot.code(stub::single())),
                template,
            },
            slot,
            registers: thread.registers,
            mask: thread.mask,
            own_mask,
            dispatch: Dispatch::suspend(tid)?,
            lent: None,
            deferred: Vec::new(),
            at: At::Prepared,
        })
    }

    /// Borrows the thread, if it was not borrowed yet. From here on it blocks the signals in
    /// `mask`.
    pub fn begin(&mut self, mask: u64) -> Result<()> {
        if self.at != At::Prepared {
            return Ok(());
        }
        let tid = self.caller.tid;
        if let Some(slot) = self.slot {
            let mut frame = way_back(&self.registers, self.mask, self.own_mask);
            if let Some((place, lent)) = &self.lent {
                (frame.place, frame.lent) = (place.0, lent.len() as u64);
                frame.spare.as_mut_bytes()[..lent.len()].copy_from_slice(lent);
            }
            slot.write(0, frame.as_bytes())?;
        }
        self.at = At::Borrowed;
        self.turn_back()
            .and_then(|()| ptrace::set_signal_mask(tid, mask))
            .map_err(|errno| Error::task(tid, "prepare for remote calls", errno))
    }

    /// Makes a call and returns what the kernel returned, even if it is an error number.
    pub fn raw(&mut self, what: &str, nr: i64, args: &[u64]) -> Result<i64> {
        self.set_off(what, nr, args, None)?;
        self.pass_entry(what)?;
        self.caller.await_call(what, &mut self.deferred)?;
        self.caller.returned(what)
    }

    /// Makes a call that must succeed.
    ///
    /// # Errors
    ///
    /// [`Error::Task`] with the error number that the call returned.
    pub fn call(&mut self, what: &str, nr: i64, args: &[u64]) -> Result<u64> {
        self.set_off(what, nr, args, None)?;
        self.pass_entry(what)?;
        self.returned(what)
    }

    /// Makes a call, like [`call`](Self::call), that creates something. From the next call on, or
    /// from the end, the caller is responsible for what was created.
    ///
    /// # Errors
    ///
    /// [`Error::Task`] with the error number that the call returned.
    pub fn make(&mut self, what: &str, nr: i64, args: &[u64], undo: Undo) -> Result<u64> {
        self.set_off(what, nr, args, Some(undo))?;
        self.pass_entry(what)?;
        self.returned(what)
    }

    /// Does the first third of a call: the thread is on its way to the entry.
    pub fn set_off(&mut self, what: &str, nr: i64, args: &[u64], undo: Option<Undo>) -> Result<()> {
        let Some(undo) = undo else {
            return self.caller.set_off(what, nr, args);
        };
        let mut caller = self.caller.clone();
        caller.template.rbx = word::from_long(undo.nr);
        [caller.template.r12, caller.template.r13] = undo.rest;
        caller.set_off(what, nr, args)
    }

    /// Does the second third of a call: the thread is on its way to the exit.
    pub fn pass_entry(&mut self, what: &str) -> Result<()> {
        self.caller.await_call(what, &mut self.deferred)?;
        self.caller.go_on(what)
    }

    /// Does the last third of a call, and returns its result; the call must have succeeded.
    pub fn returned(&mut self, what: &str) -> Result<u64> {
        self.caller.await_call(what, &mut self.deferred)?;
        let value = self.caller.returned(what)?;
        self.caller.succeeded(what, value)
    }

    /// Returns the thread as a caller.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Writes at most 88 bytes of data for a call to where the thread can read it; `None` without a
    /// cave. No memory may be borrowed.
    pub fn data(&self, bytes: &[u8]) -> Result<Option<RemoteAddr>> {
        const FIELD: usize = std::mem::offset_of!(RecoveryFrame, spare);
        match self.slot {
            Some(slot) => {
                slot.write(FIELD, bytes)?;
                Ok(Some(slot.frame(FIELD)))
            }
            None => Ok(None),
        }
    }

    /// Borrows at most 88 bytes of the program's memory, once. Returns `false` if that memory is
    /// not writable.
    pub fn borrow(&mut self, place: RemoteAddr, size: usize) -> Result<bool> {
        const FIELD: usize = std::mem::offset_of!(RecoveryFrame, place);
        let tid = self.caller.tid;
        let mut lent = vec![0; size];
        let there = memory::read(tid, place, &mut lent);
        match there.and_then(|()| memory::write(tid, place, &lent)) {
            Ok(()) => {}
            Err(Errno::EFAULT) => return Ok(false),
            Err(errno) => return Err(Error::task(tid, "borrow memory", errno)),
        }
        if let Some(slot) = self.slot.filter(|_| self.at != At::Prepared) {
            let sizes = [place.0, size as u64];
            slot.write(FIELD, &[sizes.as_bytes(), &lent].concat())?;
        }
        self.lent = Some((place, lent));
        Ok(true)
    }

    /// Arranges for this memory to be unmapped on the way back from a batch.
    pub fn unmapped_at_last(&self, start: RemoteAddr, length: u64) -> Result<()> {
        const FIELD: usize = std::mem::offset_of!(RecoveryFrame, memory);
        match self.slot {
            Some(slot) => slot.write(FIELD, [start.0, length].as_bytes()),
            None => Ok(()),
        }
    }

    /// Starts the thread on a batch whose entries are in place. Before that, it answers the
    /// questions that every thread is asked, to the address `answers`. A signal marks the end of
    /// the batch; it must not be pending, and the thread must not block it.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] without a cave.
    pub fn begin_batch(
        &mut self,
        answers: RemoteAddr,
        entries: (RemoteAddr, RemoteAddr),
        signal: i32,
    ) -> Result<()> {
        let Some(slot) = self.slot else {
            return Err(Error::malformed("a batch of calls", "has no cave"));
        };
        self.caller.template.r12 = answers.0;
        self.caller
            .begin_batch(slot.code(stub::ask()), entries, signal)
    }

    /// Waits for the end of a batch.
    pub fn end_batch(&mut self, signal: i32) -> Result<()> {
        let code = self.slot.map_or(RemoteAddr(0), |slot| slot.code(0));
        self.caller.end_batch(code, signal, &mut self.deferred)?;
        Ok(())
    }

    /// Restores everything.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`] if the task has died.
    pub fn finish(mut self) -> Result<()> {
        self.leave()?;
        self.settle()
    }

    /// Restores everything; the thread is about to stop where it was stopped before.
    pub fn leave(&mut self) -> Result<()> {
        const WHAT: &str = "put registers back";
        match std::mem::replace(&mut self.at, At::Over) {
            At::Borrowed => {}
            at => {
                self.at = at;
                return Ok(());
            }
        }
        let tid = self.caller.tid;
        let failed = |errno| Error::task(tid, WHAT, errno);
        if let Some((place, lent)) = self.lent.take() {
            memory::write(tid, place, &lent).map_err(failed)?;
        }
        if self.own_mask.is_some() && self.take_own_mask()? {
            return ptrace::set_registers(tid, &self.registers).map_err(failed);
        }
        // After a call the task is past the place where the kernel checks for signals and for calls to
        // restart. Running once more into an event stop brings it there; it executes no code of its
        // own.
        self.turn_back()
            .and_then(|()| ptrace::set_signal_mask(tid, self.mask))
            .and_then(|()| ptrace::set_registers(tid, &self.registers))
            .and_then(|()| ptrace::interrupt(tid))
            .and_then(|()| ptrace::cont(tid, 0))
            .map_err(failed)?;
        self.at = At::Leaving;
        Ok(())
    }

    /// Waits until the thread is stopped as before.
    pub fn settle(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.at, At::Over) == At::Leaving {
            await_event_stop(self.caller.tid, "put registers back", &mut self.deferred)?;
        }
        self.dispatch.resume(self.caller.tid)?;
        for signal in self.deferred.drain(..) {
            // The program receives the signal when it continues.
            let _ = crust_sys::task::tgkill(self.caller.pid, self.caller.tid, signal);
        }
        Ok(())
    }

    /// Sets the registers so that the thread is on its way back, whatever its mask is. If a signal
    /// arrives that is not blocked, it ends the call that the program was in by the kernel's rules.
    fn turn_back(&self) -> nix::Result<()> {
        let Some(slot) = self.slot else {
            return Ok(());
        };
        let mut registers = self.registers;
        registers.rip = slot.code(stub::back()).0;
        registers.r15 = slot.frame(0).0;
        if registers.orig_rax == u64::MAX {
            registers.rax = 0;
        }
        ptrace::set_registers(self.caller.tid, &registers)
    }

    /// Puts the thread into an event stop within a call that has the same signal mask as its own
    /// call. The call has no other effect, and does not block if crust dies meanwhile. Returns
    /// whether that was possible.
    fn take_own_mask(&mut self) -> Result<bool> {
        const WHAT: &str = "take the signal mask of its call";
        let Some(slot) = self.slot else {
            return Ok(false);
        };
        // Borrowed memory has been given back.
        slot.write(std::mem::offset_of!(RecoveryFrame, place), &[0; 16])?;
        // The mask, followed by a timeout of zero.
        let words = [self.own_mask.unwrap_or(self.mask), 0, 0];
        let Some(mask) = self.data(words.as_bytes())? else {
            return Ok(false);
        };
        let tid = self.caller.tid;
        let args = [0, 0, mask.offset(8).0, mask.0, 8];
        self.caller.template.rbx = word::from_long(undo::DECIDES);
        self.caller.set_off(WHAT, libc::SYS_ppoll, &args)?;
        self.caller.await_call(WHAT, &mut self.deferred)?;
        // The mask set here is the one that the kernel will return to.
        ptrace::set_signal_mask(tid, self.mask).map_err(|errno| Error::task(tid, WHAT, errno))?;
        into_event_stop(tid, WHAT, &mut self.deferred)?;
        Ok(true)
    }
}

impl Drop for Remote<'_> {
    fn drop(&mut self) {
        // This can only fail if the task has died; then there is nothing to restore.
        let _ = self.leave().and_then(|()| self.settle());
    }
}
