// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Remote system calls: a stopped task is made to do one.
//!
//! The task is pointed at a `syscall` instruction that it has anyway, in its vDSO, with the number
//! and the arguments in its registers; it stops at the entry and at the exit of the call.
//!
//! [`Caller`] does that. [`Remote`] is for a program that is to go on as if nothing had happened: its
//! `Drop` puts everything back.

use crust_sys::ptrace::{self, UserRegs, event};
use crust_sys::wait::{self, Status};
use crust_sys::{RemoteAddr, signal, stub};
use nix::errno::Errno;

use crate::subject::{FrozenProcess, FrozenThread};
use crate::{Error, Result};

/// The signal that tells of the end of a batch. Its default action is to do nothing, and programs
/// that use it (Go does) expect it to come at any time.
pub const END_OF_BATCH: i32 = libc::SIGURG;

/// What is blocked while a task makes remote calls: all that can be, but [`END_OF_BATCH`].
pub const BLOCKED: u64 = !signal::bit(END_OF_BATCH);

/// A stopped tracee of the calling thread that makes system calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its process.
    pub pid: i32,
    /// Its thread id.
    pub tid: i32,
    /// A `syscall` instruction.
    pub instruction: RemoteAddr,
    /// Segments, flags and stack pointer come from here.
    pub template: UserRegs,
}

/// What has been stopped by the wrong thing: a signal that the program must still get.
pub(crate) type Deferred = Vec<i32>;

impl Caller {
    /// Makes a call and returns what the kernel returned, also if it is an error number.
    pub fn raw(&self, what: &str, nr: i64, args: &[u64]) -> Result<i64> {
        self.enter(what, nr, args)?;
        self.step(what, &mut Vec::new())?;
        let registers = ptrace::registers(self.tid)
            .map_err(|errno| Error::task(self.tid, format!("{what}: read registers"), errno))?;
        Ok(registers.rax as i64)
    }

    /// Makes a call that must succeed.
    ///
    /// # Errors
    ///
    /// [`Error::Task`] with the error number that the call returned.
    pub fn call(&self, what: &str, nr: i64, args: &[u64]) -> Result<u64> {
        let value = self.raw(what, nr, args)?;
        match error_number(value as u64) {
            // ESRCH came from the call: the task itself is there.
            Some(errno) => Err(Error::Task {
                task: self.tid,
                operation: what.into(),
                errno,
            }),
            None => Ok(value as u64),
        }
    }

    /// Makes a call and returns from it into an event stop, where the kernel looks at signals next:
    /// the place from which registers of an interrupted call may be let go. A call that would sleep
    /// is interrupted at once.
    pub fn call_into_stop(&self, what: &str, nr: i64, args: &[u64]) -> Result<i64> {
        let failed = |errno| Error::task(self.tid, what, errno);
        self.enter(what, nr, args)?;
        ptrace::interrupt(self.tid).map_err(failed)?;
        ptrace::cont(self.tid, 0).map_err(failed)?;
        await_event_stop(self.tid, what, &mut Vec::new())?;
        Ok(ptrace::registers(self.tid).map_err(failed)?.rax as i64)
    }

    /// Makes a call from which the task does not come back.
    pub fn leave(&self, what: &str, nr: i64, args: &[u64]) -> Result<()> {
        self.enter(what, nr, args)?;
        ptrace::cont(self.tid, 0).map_err(|errno| Error::task(self.tid, what, errno))
    }

    /// Up to the entry of a call.
    fn enter(&self, what: &str, nr: i64, args: &[u64]) -> Result<()> {
        let mut registers = self.template;
        registers.rip = self.instruction.0;
        registers.rax = nr as u64;
        // Whatever call the task was stopped in is not begun again before ours.
        registers.orig_rax = u64::MAX;
        let places = [
            &mut registers.rdi,
            &mut registers.rsi,
            &mut registers.rdx,
            &mut registers.r10,
            &mut registers.r8,
            &mut registers.r9,
        ];
        for (index, place) in places.into_iter().enumerate() {
            *place = args.get(index).copied().unwrap_or(0);
        }
        ptrace::set_registers(self.tid, &registers)
            .map_err(|errno| Error::task(self.tid, format!("{what}: set registers"), errno))?;
        self.step(what, &mut Vec::new())
    }

    /// To the next stop at the entry or exit of a call.
    fn step(&self, what: &str, deferred: &mut Deferred) -> Result<()> {
        const CALL: i32 = libc::SIGTRAP | 0x80;
        loop {
            ptrace::syscall(self.tid, 0).map_err(|errno| Error::task(self.tid, what, errno))?;
            match stopped(self.tid, what)? {
                (CALL, 0) => return Ok(()),
                (signal, event) => defer(self.tid, what, signal, event, deferred)?,
            }
        }
    }

    /// Sets the task off on a batch whose entries are in place.
    pub(crate) fn begin_batch(
        &self,
        code: RemoteAddr,
        frame: RemoteAddr,
        entries: (RemoteAddr, RemoteAddr),
    ) -> Result<()> {
        const WHAT: &str = "begin a batch of calls";
        let mut registers = self.template;
        registers.rip = code.0;
        registers.orig_rax = u64::MAX;
        registers.rbx = entries.0.0;
        registers.rbp = entries.1.0;
        registers.r13 = self.pid as u64;
        registers.r14 = self.tid as u64;
        registers.r15 = frame.0;
        ptrace::set_registers(self.tid, &registers)
            .and_then(|()| ptrace::cont(self.tid, 0))
            .map_err(|errno| Error::task(self.tid, WHAT, errno))
    }

    /// Waits until the batch is at its end; returns the entry at which it stopped.
    pub(crate) fn end_batch(
        &self,
        code: RemoteAddr,
        deferred: &mut Deferred,
    ) -> Result<RemoteAddr> {
        const WHAT: &str = "make a batch of calls";
        let failed = |errno| Error::task(self.tid, WHAT, errno);
        loop {
            let (signal, event) = stopped(self.tid, WHAT)?;
            if (signal, event) == (END_OF_BATCH, 0) {
                let registers = ptrace::registers(self.tid).map_err(failed)?;
                if registers.rip == code.offset(stub::told()).0 {
                    return Ok(RemoteAddr(registers.rbx));
                }
            }
            defer(self.tid, WHAT, signal, event, deferred)?;
            ptrace::cont(self.tid, 0).map_err(failed)?;
        }
    }
}

/// The error number that a system call returned, if it is one.
#[must_use]
pub fn error_number(value: u64) -> Option<Errno> {
    let value = value as i64;
    // Above 511 are the kernel's own, as ERESTARTNOHAND; all are errors.
    (-4095..0)
        .contains(&value)
        .then(|| Errno::from_raw(-value as i32))
}

/// Waits until a task stands still: signal and event of its stop.
fn stopped(tid: i32, what: &str) -> Result<(i32, i32)> {
    match wait::wait(tid) {
        Ok((_, Status::Stopped { signal, event })) => Ok((signal, event)),
        Ok(_) => Err(Error::Gone {
            task: tid,
            operation: what.into(),
        }),
        Err(Errno::ECHILD) => Err(Error::Gone {
            task: tid,
            operation: what.into(),
        }),
        Err(errno) => Err(Error::task(tid, what, errno)),
    }
}

/// Waits for the stop that [`ptrace::interrupt`] has asked for.
pub(crate) fn await_event_stop(tid: i32, what: &str, deferred: &mut Deferred) -> Result<()> {
    loop {
        match stopped(tid, what)? {
            (_, event::STOP) => return Ok(()),
            (signal, event) => defer(tid, what, signal, event, deferred)?,
        }
        ptrace::cont(tid, 0).map_err(|errno| Error::task(tid, what, errno))?;
    }
}

/// A stop in the midst of a call: nearly all signals are blocked, so it can only be one of few.
fn defer(tid: i32, what: &str, signal: i32, event: i32, deferred: &mut Deferred) -> Result<()> {
    match signal {
        // The notice of a stop or its end, which lasts until the program goes on.
        _ if event == event::STOP => Ok(()),
        libc::SIGSTOP | END_OF_BATCH => {
            if !deferred.contains(&signal) {
                deferred.push(signal);
            }
            Ok(())
        }
        _ => Err(Error::malformed(
            format!("task {tid}: {what}"),
            format!("it got signal {signal} instead"),
        )),
    }
}

/// A frozen thread of a program, borrowed for system calls. `Drop` puts back registers, signal mask
/// and everything else, and the thread stands in an event stop again as it did before.
#[derive(Debug)]
pub struct Remote {
    caller: Caller,
    registers: UserRegs,
    mask: u64,
    dispatch: ptrace::UserDispatch,
    deferred: Deferred,
    finished: bool,
}

impl Remote {
    /// Borrows a thread.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the process has no vDSO; [`Error::Task`], [`Error::Gone`].
    pub fn new(process: &FrozenProcess, thread: &FrozenThread) -> Result<Self> {
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
        let dispatch = ptrace::user_dispatch(tid).unwrap_or_default();
        let caller = Caller {
            pid: process.pid,
            tid,
            instruction,
            template: registers,
        };
        let remote = Self {
            caller,
            registers,
            mask,
            dispatch,
            deferred: Vec::new(),
            finished: false,
        };
        if dispatch.mode != 0 {
            ptrace::set_user_dispatch(tid, ptrace::UserDispatch::default()).map_err(failed)?;
        }
        ptrace::set_signal_mask(tid, BLOCKED).map_err(failed)?;
        Ok(remote)
    }

    /// Makes a call that must succeed.
    pub fn call(&mut self, what: &str, nr: i64, args: &[u64]) -> Result<u64> {
        self.caller.call(what, nr, args)
    }

    /// The thread that makes the calls.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What the thread is put back to if the tool is killed while it runs a batch.
    pub(crate) fn frame(&self) -> stub::Frame {
        let mut r = self.registers;
        // What the kernel does with an interrupted call when it finds no signal (arch_do_signal_or_restart).
        if r.orig_rax != u64::MAX {
            const RESTART_SYSCALL: u64 = 219;
            match -(r.rax as i64) {
                512..=514 => (r.rax, r.rip) = (r.orig_rax, r.rip - 2),
                516 => (r.rax, r.rip) = (RESTART_SYSCALL, r.rip - 2),
                _ => {}
            }
        }
        stub::Frame {
            signal: END_OF_BATCH as u64,
            mask: self.mask,
            general: [
                r.r15, r.r14, r.r13, r.r12, r.rbp, r.rbx, r.r11, r.r10, r.r9, r.r8, r.rax, r.rcx,
                r.rdx, r.rsi, r.rdi,
            ],
            rip: r.rip,
            rsp: r.rsp,
            room: [[0; 32]; 32],
            flags: r.eflags,
        }
    }

    /// Runs a batch whose entries and frame are in place.
    pub(crate) fn batch(
        &mut self,
        code: RemoteAddr,
        frame: RemoteAddr,
        entries: (RemoteAddr, RemoteAddr),
    ) -> Result<RemoteAddr> {
        self.caller.begin_batch(code, frame, entries)?;
        self.caller.end_batch(code, &mut self.deferred)
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
        ptrace::set_signal_mask(tid, self.mask).map_err(failed)?;
        ptrace::set_registers(tid, &self.registers).map_err(failed)?;
        if self.dispatch.mode != 0 {
            ptrace::set_user_dispatch(tid, self.dispatch).map_err(failed)?;
        }
        // After a call the task stands behind the place where the kernel looks at signals and at
        // calls to begin again. One more round brings it there; it executes nothing of its own.
        ptrace::interrupt(tid).map_err(failed)?;
        ptrace::cont(tid, 0).map_err(failed)?;
        await_event_stop(tid, WHAT, &mut self.deferred)?;
        for signal in self.deferred.drain(..) {
            // It reaches the program when that goes on.
            let _ = crust_sys::task::tgkill(self.caller.pid, tid, signal);
        }
        Ok(())
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // The task can only have died; then there is nothing to put back.
        let _ = self.restore();
    }
}
