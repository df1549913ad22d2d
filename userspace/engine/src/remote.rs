// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Remote system calls: a stopped task is made to do one.
//!
//! The task is pointed at a `syscall` instruction, with the number and the arguments in its registers;
//! it stops at the entry and at the exit of the call. [`Caller`] does that.
//!
//! [`Remote`] is for a program that is to go on as if nothing had happened, also if crust is killed
//! at any instant. Then the kernel lets the program go where it stands. So it must always stand where
//! it may go on: either it has its own registers and its own mask, or it is at a place of the code in
//! its [`Room`] from which the way back begins ([`stub`]), and what that needs is in the [`Frame`].
//! The order of requests follows from this:
//!
//! * First the frame, then registers that lead to [`stub::back`], and only then the mask that keeps the
//!   program's signals away: between the last two a signal may come, and finds its handler, a real
//!   stack, and the kernel's rules for the call that it ends.
//! * At the end those registers again, then the program's mask, then its registers. A task that is let
//!   go passes the place where the kernel looks at signals and at calls to begin again, for it is woken
//!   as if by a signal (kernel/ptrace.c:`__ptrace_unlink`).
//! * What a call makes is undone on the way back ([`Undo`]) until somebody else takes charge of it.
//!
//! What is lost with crust: a `SIGSTOP` that came in the midst of a call, or one of [`stub::SIGNALS`] in
//! the midst of a batch.
//!
//! Where there is no room behind the vDSO, calls are made at an instruction of the vDSO itself, one by
//! one, and the program is not safe against the death of crust in those microseconds.

mod caller;
mod room;
mod way_back;

use crust_sys::ptrace::{self, UserRegs};
use crust_sys::stub::{self, Frame, undo};
use crust_sys::{RemoteAddr, memory, signal};
use nix::errno::Errno;
use zerocopy::IntoBytes;

pub use self::caller::{Caller, error_number};
pub(crate) use self::caller::{Deferred, await_event_stop, into_event_stop, stopped};
pub use self::room::Room;
use self::way_back::way_back;
use crate::subject::{FrozenProcess, FrozenThread};
use crate::{Error, Result, masked, procfs};

/// The signal that tells of the end of a batch of a restored task.
pub const END_OF_BATCH: i32 = stub::SIGNALS[0];

/// What a restored task blocks: all that can be, but [`END_OF_BATCH`].
pub const BLOCKED: u64 = !signal::bit(END_OF_BATCH);

/// The call that undoes another if crust dies before it has seen its result, which is the first
/// argument.
#[derive(Clone, Copy, Debug)]
pub struct Undo {
    /// Its number.
    pub nr: i64,
    /// Its second and third arguments; the others are 0.
    pub rest: [u64; 2],
}

/// A frozen thread of a program, borrowed for system calls. `Drop` puts back registers, signal mask
/// and everything else, and the thread stands in an event stop again as it did before.
#[derive(Debug)]
pub struct Remote<'a> {
    caller: Caller,
    room: Option<&'a Room>,
    registers: UserRegs,
    mask: u64,
    /// The mask of the call in which it is, if that has one.
    own_mask: Option<u64>,
    /// Where memory was borrowed, and what was there.
    lent: Option<(RemoteAddr, Vec<u8>)>,
    deferred: Deferred,
    finished: bool,
}

impl<'a> Remote<'a> {
    /// Borrows a thread. It must not be under seccomp filters or syscall user dispatch: on the way
    /// back they would be in force again.
    ///
    /// No other thread of the process may be borrowed at the same time, for there is one frame.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the process has no vDSO; [`Error::Task`], [`Error::Gone`].
    pub fn new(
        process: &FrozenProcess,
        thread: &FrozenThread,
        room: Option<&'a Room>,
    ) -> Result<Self> {
        let tid = thread.tid;
        let failed = |errno| Error::task(tid, "prepare for remote calls", errno);
        let Some(instruction) = process.syscall_insn else {
            return Err(Error::malformed(
                format!("process {}", process.pid),
                "it has no vDSO with a syscall instruction",
            ));
        };
        let registers = thread.registers;
        let mask = ptrace::signal_mask(tid).map_err(failed)?;
        let own_mask = if masked::in_call(&registers) {
            let name = format!("task/{tid}/status");
            let status = procfs::Fields(procfs::read_text(&process.proc, tid, &name)?);
            status.hex("SigBlk").filter(|&own| own != mask)
        } else {
            None
        };
        let mut template = registers;
        template.rbx = undo::NOTHING as u64;
        let remote = Self {
            caller: Caller {
                pid: process.pid,
                tid,
                instruction: room.map_or(instruction, |room| room.code(stub::single())),
                template,
            },
            room,
            registers,
            mask,
            own_mask,
            lent: None,
            deferred: Vec::new(),
            finished: false,
        };
        if let Some(room) = room {
            room.write(0, way_back(&registers, mask, own_mask).as_bytes())?;
        }
        remote.turn_back().map_err(failed)?;
        ptrace::set_signal_mask(tid, u64::MAX).map_err(failed)?;
        Ok(remote)
    }

    /// Makes a call that must succeed.
    ///
    /// # Errors
    ///
    /// [`Error::Task`] with the error number that the call returned.
    pub fn call(&mut self, what: &str, nr: i64, args: &[u64]) -> Result<u64> {
        self.caller.call(what, nr, args)
    }

    /// As [`call`](Self::call), for a call that makes something. From the next call on, or the end, what
    /// it has made is the caller's.
    ///
    /// # Errors
    ///
    /// [`Error::Task`] with the error number that the call returned.
    pub fn make(&mut self, what: &str, nr: i64, args: &[u64], undo: Undo) -> Result<u64> {
        let mut caller = self.caller.clone();
        caller.template.rbx = undo.nr as u64;
        [caller.template.r12, caller.template.r13] = undo.rest;
        caller.call(what, nr, args)
    }

    /// The thread that makes the calls.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether it can run batches.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.room.is_some()
    }

    /// Puts data for a call, of at most 88 bytes, where the thread can read it; `None` without room.
    pub(crate) fn data(&self, bytes: &[u8]) -> Result<Option<RemoteAddr>> {
        const FIELD: usize = std::mem::offset_of!(Frame, data);
        debug_assert!(bytes.len() <= size_of::<Frame>() - FIELD);
        match self.room {
            Some(room) => {
                room.write(FIELD, bytes)?;
                Ok(Some(room.frame(FIELD)))
            }
            None => Ok(None),
        }
    }

    /// How many bytes of the program's memory can be borrowed, such that they are put back whatever
    /// happens.
    #[must_use]
    pub(crate) fn can_borrow(&self) -> usize {
        self.room.map_or(0, Room::lendable)
    }

    /// Borrows some of the program's memory. `false` if it may not be written to.
    pub(crate) fn borrow(&mut self, place: RemoteAddr, size: usize) -> Result<bool> {
        let (pid, tid) = (self.caller.pid, self.caller.tid);
        let mut lent = vec![0; size];
        let there = memory::read(pid, place, &mut lent);
        match there.and_then(|()| memory::write(pid, place, &lent)) {
            Ok(()) => {}
            Err(Errno::EFAULT) => return Ok(false),
            Err(errno) => return Err(Error::task(tid, "borrow memory", errno)),
        }
        if let Some(room) = self.room.filter(|room| size <= room.lendable()) {
            room.write(size_of::<Frame>(), &lent)?;
            const FIELD: usize = std::mem::offset_of!(Frame, place);
            room.write(FIELD, [place.0, size as u64].as_bytes())?;
        }
        self.lent = Some((place, lent));
        Ok(true)
    }

    /// On the way back from a batch this memory goes.
    pub(crate) fn unmapped_at_last(&self, start: RemoteAddr, length: u64) -> Result<()> {
        const FIELD: usize = std::mem::offset_of!(Frame, memory);
        match self.room {
            Some(room) => room.write(FIELD, [start.0, length].as_bytes()),
            None => Ok(()),
        }
    }

    /// Runs a batch whose entries are in place. A signal tells of its end, of which none may wait.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] without room.
    pub(crate) fn batch(&mut self, entries: (RemoteAddr, RemoteAddr), signal: i32) -> Result<()> {
        let Some(room) = self.room else {
            return Err(Error::malformed("a batch of calls", "has no room"));
        };
        let tid = self.caller.tid;
        let block = |mask| {
            ptrace::set_signal_mask(tid, mask)
                .map_err(|errno| Error::task(tid, "set the signal mask", errno))
        };
        block(!signal::bit(signal))?;
        self.caller.begin_batch(room.code(0), entries, signal)?;
        self.caller
            .end_batch(room.code(0), signal, &mut self.deferred)?;
        block(u64::MAX)
    }

    /// Puts everything back.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`] if the task has died.
    pub fn finish(mut self) -> Result<()> {
        self.restore()
    }

    fn restore(&mut self) -> Result<()> {
        const WHAT: &str = "put registers back";
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        let tid = self.caller.tid;
        let failed = |errno| Error::task(tid, WHAT, errno);
        if let Some((place, lent)) = &self.lent {
            memory::write(self.caller.pid, *place, lent).map_err(failed)?;
        }
        let masked = self.own_mask.is_some() && self.take_own_mask()?;
        if !masked {
            self.turn_back()
                .and_then(|()| ptrace::set_signal_mask(tid, self.mask))
                .map_err(failed)?;
        }
        ptrace::set_registers(tid, &self.registers).map_err(failed)?;
        if !masked {
            // After a call the task stands behind the place where the kernel looks at signals and at
            // calls to begin again. One more round brings it there; it executes nothing of its own.
            into_event_stop(tid, WHAT, &mut self.deferred)?;
        }
        for signal in self.deferred.drain(..) {
            // It reaches the program when that goes on.
            let _ = crust_sys::task::tgkill(self.caller.pid, tid, signal);
        }
        Ok(())
    }

    /// Sets the registers so that the thread is on its way back, whatever its mask is. If a signal
    /// comes that is not blocked, the call in which the program was ends there by the rules for it.
    fn turn_back(&self) -> nix::Result<()> {
        let Some(room) = self.room else {
            return Ok(());
        };
        let mut registers = self.registers;
        registers.rip = room.code(stub::back()).0;
        if registers.orig_rax == u64::MAX {
            registers.rax = 0;
        }
        ptrace::set_registers(self.caller.tid, &registers)
    }

    /// Puts the thread into an event stop within a call that has the mask of its own call, by one that
    /// does nothing else, and waits for nothing if crust dies meanwhile. Returns whether it could.
    fn take_own_mask(&mut self) -> Result<bool> {
        const WHAT: &str = "take the signal mask of its call";
        // The mask; then a limit of no time at all.
        let words = [self.own_mask.unwrap_or(self.mask), 0, 0];
        let Some(mask) = self.data(words.as_bytes())? else {
            return Ok(false);
        };
        let tid = self.caller.tid;
        let args = [0, 0, mask.offset(8).0, mask.0, 8];
        self.caller.template.rbx = undo::DECIDES as u64;
        self.caller.enter(WHAT, libc::SYS_ppoll, &args)?;
        // What is in force here is what the kernel will come back to.
        ptrace::set_signal_mask(tid, self.mask).map_err(|errno| Error::task(tid, WHAT, errno))?;
        into_event_stop(tid, WHAT, &mut self.deferred)?;
        Ok(true)
    }
}

impl Drop for Remote<'_> {
    fn drop(&mut self) {
        // The task can only have died; then there is nothing to put back.
        let _ = self.restore();
    }
}
