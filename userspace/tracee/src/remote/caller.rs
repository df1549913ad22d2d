// SPDX-License-Identifier: Apache-2.0 OR MIT

//! System calls by a stopped task, one by one or in batches.

use crust_model::{Error, Result};
use crust_sys::ptrace::{self, UserRegs, event};
use crust_sys::wait::{self, Status};
use crust_sys::{RemoteAddr, stub, word};
use nix::errno::Errno;

/// A stopped tracee of the calling thread that makes system calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The process id.
    pub pid: i32,
    /// The thread id.
    pub tid: i32,
    /// The address of a `syscall` instruction.
    pub instruction: RemoteAddr,
    /// The registers from which segments, flags and stack pointer are taken.
    pub template: UserRegs,
}

/// Signals that stopped a task at the wrong moment, and that the program must still get.
pub(crate) type Deferred = Vec<i32>;

impl Caller {
    /// Makes a call and returns what the kernel returned, even if it is an error number.
    pub fn raw(&self, what: &str, nr: i64, args: &[u64]) -> Result<i64> {
        self.enter(what, nr, args)?;
        self.go_on(what)?;
        self.await_call(what, &mut Vec::new())?;
        self.returned(what)
    }

    /// Makes a call that must succeed.
    ///
    /// # Errors
    ///
    /// [`Error::Task`] with the error number that the call returned.
    pub fn call(&self, what: &str, nr: i64, args: &[u64]) -> Result<u64> {
        let value = self.raw(what, nr, args)?;
        self.succeeded(what, value)
    }

    /// Checks the result of a call that must succeed.
    pub(super) fn succeeded(&self, what: &str, value: i64) -> Result<u64> {
        match error_number(word::from_long(value)) {
            // ESRCH came from the call: the task itself exists.
            Some(errno) => Err(Error::Task {
                task: self.tid,
                operation: what.into(),
                errno,
            }),
            None => Ok(word::from_long(value)),
        }
    }

    /// Makes a call and returns from it into an event stop, after which the kernel checks for
    /// signals: only from there can a task with the registers of an interrupted call be resumed. A
    /// call that would sleep is interrupted at once.
    pub fn call_into_stop(&self, what: &str, nr: i64, args: &[u64]) -> Result<i64> {
        let failed = |errno| Error::task(self.tid, what, errno);
        self.enter(what, nr, args)?;
        into_event_stop(self.tid, what, &mut Vec::new())?;
        Ok(word::to_long(
            ptrace::registers(self.tid).map_err(failed)?.rax,
        ))
    }

    /// Detaches from the task, which makes a call that does not return to us.
    pub fn detach(&self, what: &str, nr: i64, args: &[u64]) -> Result<()> {
        ptrace::set_registers(self.tid, &self.before(nr, args))
            .and_then(|()| ptrace::detach(self.tid, 0))
            .map_err(|errno| Error::task(self.tid, what, errno))
    }

    /// Makes a call that does not return.
    pub fn leave(&self, what: &str, nr: i64, args: &[u64]) -> Result<()> {
        self.enter(what, nr, args)?;
        ptrace::cont(self.tid, 0).map_err(|errno| Error::task(self.tid, what, errno))
    }

    /// Runs the task up to the entry of a call.
    pub fn enter(&self, what: &str, nr: i64, args: &[u64]) -> Result<()> {
        self.set_off(what, nr, args)?;
        self.await_call(what, &mut Vec::new())
    }

    /// Returns the registers with which the task makes the given call.
    fn before(&self, nr: i64, args: &[u64]) -> UserRegs {
        let mut registers = self.template;
        registers.rip = self.instruction.0;
        registers.rax = word::from_long(nr);
        // Keeps the kernel from restarting, before our call, the call in which the task was stopped.
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
        registers
    }

    /// Starts the task on a call; it will stop at the entry.
    pub(super) fn set_off(&self, what: &str, nr: i64, args: &[u64]) -> Result<()> {
        ptrace::set_registers(self.tid, &self.before(nr, args))
            .map_err(|errno| Error::task(self.tid, format!("{what}: set registers"), errno))?;
        self.go_on(what)
    }

    /// Resumes the task up to the next entry to or exit from a call.
    pub(super) fn go_on(&self, what: &str) -> Result<()> {
        ptrace::syscall(self.tid, 0).map_err(|errno| Error::task(self.tid, what, errno))
    }

    /// Returns the result of the call at whose exit the task is stopped.
    pub(super) fn returned(&self, what: &str) -> Result<i64> {
        let registers = ptrace::registers(self.tid)
            .map_err(|errno| Error::task(self.tid, format!("{what}: read registers"), errno))?;
        Ok(word::to_long(registers.rax))
    }

    /// Restarts the call that was interrupted with these registers, and stops at its entry. A task
    /// that is released there notices its signals in the call, whatever happened before.
    pub fn begin_again(&self, interrupted: &UserRegs) -> Result<()> {
        const WHAT: &str = "begin the interrupted call again";
        let mut registers = *interrupted;
        registers.rax = registers.orig_rax;
        registers.orig_rax = u64::MAX;
        // The length of the instruction, as the kernel assumes it.
        registers.rip = registers.rip.wrapping_sub(2);
        ptrace::set_registers(self.tid, &registers)
            .map_err(|errno| Error::task(self.tid, WHAT, errno))?;
        self.go_on(WHAT)?;
        self.await_call(WHAT, &mut Vec::new())
    }

    /// Waits for the next stop at the entry or exit of a call, towards which the task is running.
    pub(super) fn await_call(&self, what: &str, deferred: &mut Deferred) -> Result<()> {
        const CALL: i32 = libc::SIGTRAP | 0x80;
        loop {
            match stopped(self.tid, what)? {
                (CALL, 0) => return Ok(()),
                (signal, event) => defer(self.tid, what, signal, event, deferred)?,
            }
            self.go_on(what)?;
        }
    }

    /// Starts the task on a batch whose entries are in place, at the instruction `begin`. At the
    /// end of the batch it sends itself `signal`, which it must not block.
    pub fn begin_batch(
        &self,
        begin: RemoteAddr,
        entries: (RemoteAddr, RemoteAddr),
        signal: i32,
    ) -> Result<()> {
        const WHAT: &str = "begin a batch of calls";
        let mut registers = self.template;
        registers.rip = begin.0;
        registers.orig_rax = u64::MAX;
        registers.rbx = entries.0.0;
        registers.rbp = entries.1.0;
        registers.r13 = word::from_int(self.pid) | word::from_int(self.tid) << 32;
        registers.r14 = word::from_int(signal);
        ptrace::set_registers(self.tid, &registers)
            .and_then(|()| ptrace::cont(self.tid, 0))
            .map_err(|errno| Error::task(self.tid, WHAT, errno))
    }

    /// Waits until the batch has ended; returns the entry at which it stopped.
    pub fn end_batch(
        &self,
        code: RemoteAddr,
        told_by: i32,
        deferred: &mut Deferred,
    ) -> Result<RemoteAddr> {
        const WHAT: &str = "make a batch of calls";
        let failed = |errno| Error::task(self.tid, WHAT, errno);
        loop {
            let (signal, event) = stopped(self.tid, WHAT)?;
            if (signal, event) == (told_by, 0) {
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

/// Returns the error number that a system call returned, if it is one.
#[must_use]
pub fn error_number(value: u64) -> Option<Errno> {
    let value = i32::try_from(word::to_long(value)).ok()?;
    // Values above 511 are internal to the kernel, such as ERESTARTNOHAND; all are errors.
    (-4095..0).contains(&value).then(|| Errno::from_raw(-value))
}

/// Waits until a task stops, and returns the signal and event of its stop.
pub fn stopped(tid: i32, what: &str) -> Result<(i32, i32)> {
    match wait::wait_awake(tid) {
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

/// Waits for the stop that [`ptrace::interrupt`] has requested.
pub fn await_event_stop(tid: i32, what: &str, deferred: &mut Deferred) -> Result<()> {
    loop {
        match stopped(tid, what)? {
            (_, event::STOP) => return Ok(()),
            (signal, event) => defer(tid, what, signal, event, deferred)?,
        }
        ptrace::cont(tid, 0).map_err(|errno| Error::task(tid, what, errno))?;
    }
}

/// Lets a task run into the next event stop. If it is at the entry of a call that would sleep, that
/// call is interrupted at once.
pub(crate) fn into_event_stop(tid: i32, what: &str, deferred: &mut Deferred) -> Result<()> {
    ptrace::interrupt(tid)
        .and_then(|()| ptrace::cont(tid, 0))
        .map_err(|errno| Error::task(tid, what, errno))?;
    await_event_stop(tid, what, deferred)
}

/// Handles a stop in the middle of a call: nearly all signals are blocked, so only a few are
/// possible.
fn defer(tid: i32, what: &str, signal: i32, event: i32, deferred: &mut Deferred) -> Result<()> {
    match signal {
        // The notification that a group-stop has begun or ended, which stays pending until the program
        // continues.
        _ if event == event::STOP => Ok(()),
        _ if signal == libc::SIGSTOP || stub::SIGNALS.contains(&signal) => {
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
