// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A stopped task that makes system calls: one by one, or in batches.

use crust_model::{Error, Result};
use crust_sys::ptrace::{self, UserRegs, event};
use crust_sys::wait::{self, Status};
use crust_sys::{RemoteAddr, stub};
use nix::errno::Errno;

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
pub type Deferred = Vec<i32>;

impl Caller {
    /// Makes a call and returns what the kernel returned, also if it is an error number.
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

    /// What a call returned that must succeed.
    pub(super) fn succeeded(&self, what: &str, value: i64) -> Result<u64> {
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
        into_event_stop(self.tid, what, &mut Vec::new())?;
        Ok(ptrace::registers(self.tid).map_err(failed)?.rax as i64)
    }

    /// Lets the task go, to make a call from which it does not come back.
    pub fn detach(&self, what: &str, nr: i64, args: &[u64]) -> Result<()> {
        ptrace::set_registers(self.tid, &self.before(nr, args))
            .and_then(|()| ptrace::detach(self.tid, 0))
            .map_err(|errno| Error::task(self.tid, what, errno))
    }

    /// Makes a call from which the task does not come back.
    pub fn leave(&self, what: &str, nr: i64, args: &[u64]) -> Result<()> {
        self.enter(what, nr, args)?;
        ptrace::cont(self.tid, 0).map_err(|errno| Error::task(self.tid, what, errno))
    }

    /// Up to the entry of a call.
    pub fn enter(&self, what: &str, nr: i64, args: &[u64]) -> Result<()> {
        self.set_off(what, nr, args)?;
        self.await_call(what, &mut Vec::new())
    }

    /// The registers with which it makes a call next.
    fn before(&self, nr: i64, args: &[u64]) -> UserRegs {
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
        registers
    }

    /// Sets the task off on a call; it will stop at its entry.
    pub(super) fn set_off(&self, what: &str, nr: i64, args: &[u64]) -> Result<()> {
        ptrace::set_registers(self.tid, &self.before(nr, args))
            .map_err(|errno| Error::task(self.tid, format!("{what}: set registers"), errno))?;
        self.go_on(what)
    }

    /// Has the task go on to the next entry or exit of a call.
    pub(super) fn go_on(&self, what: &str) -> Result<()> {
        ptrace::syscall(self.tid, 0).map_err(|errno| Error::task(self.tid, what, errno))
    }

    /// What the call returned at whose exit the task stands.
    pub(super) fn returned(&self, what: &str) -> Result<i64> {
        let registers = ptrace::registers(self.tid)
            .map_err(|errno| Error::task(self.tid, format!("{what}: read registers"), errno))?;
        Ok(registers.rax as i64)
    }

    /// Begins the call again that these registers were in when it was interrupted, and stops at its
    /// entry. A task that is let go there finds its signals in the call, whatever came before.
    pub fn begin_again(&self, interrupted: &UserRegs) -> Result<()> {
        const WHAT: &str = "begin the interrupted call again";
        let mut registers = *interrupted;
        registers.rax = registers.orig_rax;
        registers.orig_rax = u64::MAX;
        // The length of the instruction, as the kernel has it.
        registers.rip = registers.rip.wrapping_sub(2);
        ptrace::set_registers(self.tid, &registers)
            .map_err(|errno| Error::task(self.tid, WHAT, errno))?;
        self.go_on(WHAT)?;
        self.await_call(WHAT, &mut Vec::new())
    }

    /// Waits for the next stop at the entry or exit of a call, for which the task has been set off.
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

    /// Sets the task off on a batch whose entries are in place, from the instruction `begin` on. At
    /// its end it sends itself `signal`, which it must not block.
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
        registers.r13 = self.pid as u64 | (self.tid as u64) << 32;
        registers.r14 = signal as u64;
        ptrace::set_registers(self.tid, &registers)
            .and_then(|()| ptrace::cont(self.tid, 0))
            .map_err(|errno| Error::task(self.tid, WHAT, errno))
    }

    /// Waits until the batch is at its end; returns the entry at which it stopped.
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

/// Waits for the stop that [`ptrace::interrupt`] has asked for.
pub fn await_event_stop(tid: i32, what: &str, deferred: &mut Deferred) -> Result<()> {
    loop {
        match stopped(tid, what)? {
            (_, event::STOP) => return Ok(()),
            (signal, event) => defer(tid, what, signal, event, deferred)?,
        }
        ptrace::cont(tid, 0).map_err(|errno| Error::task(tid, what, errno))?;
    }
}

/// Lets a task run into the next event stop. If it stands at the entry of a call that would sleep,
/// that call is interrupted at once.
pub fn into_event_stop(tid: i32, what: &str, deferred: &mut Deferred) -> Result<()> {
    ptrace::interrupt(tid)
        .and_then(|()| ptrace::cont(tid, 0))
        .map_err(|errno| Error::task(tid, what, errno))?;
    await_event_stop(tid, what, deferred)
}

/// A stop in the midst of a call: nearly all signals are blocked, so it can only be one of few.
fn defer(tid: i32, what: &str, signal: i32, event: i32, deferred: &mut Deferred) -> Result<()> {
    match signal {
        // The notice of a stop or its end, which lasts until the program goes on.
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
