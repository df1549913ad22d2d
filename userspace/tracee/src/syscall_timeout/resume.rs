// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Resuming threads in their calls with the remaining time of a timeout.
//!
//! The kernel reads a timeout when the call begins. So until the thread sleeps again, the remaining
//! time is stored where the program has the whole timeout, and then the old value is put back: when
//! the call returns, neither registers nor memory of the program have changed. Only a timeout in a
//! register stays changed until the call returns; the system call interface of C libraries hides
//! that.
//!
//! If crust is killed in that moment, a few dozen microseconds, the timeout stays shortened.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crust_model::plan::SECOND;
use crust_sys::{RemoteAddr, memory, pidfd, ptrace, sockopt};

use super::blocked_since::{Called, parse_sched};
use super::note::Note;
use super::{Remaining, TimeoutLocation, thread_pidfd};
use crate::clock;

/// How often to check whether a thread has fallen asleep again. If its call returns at once, it may
/// never do so. This is not a duration: a machine may be busy, but each check lets the thread have
/// a processor.
const LOOKS: u32 = 1000;
const PAUSE: Duration = Duration::from_micros(20);

/// A field of `/proc/PID/task/TID/status`.
const SWITCHES: &str = "voluntary_ctxt_switches";

/// A stopped thread that is about to continue a call with a timeout.
#[derive(Debug)]
pub struct Waiting {
    pid: i32,
    tid: i32,
    number: i64,
    place: TimeoutLocation,
    /// When the wait ends, on the monotonic clock; `None` if the kernel determines that.
    end: Option<u64>,
    /// The stack pointer and instruction pointer of the thread in its call.
    at: (u64, u64),
    /// The number of voluntary context switches so far, including the one of its stop.
    switches: i64,
    proc: File,
    /// Whether a signal is pending that will end the call.
    disturbed: bool,
}

impl Waiting {
    /// Returns `None` if the thread is gone.
    pub fn new(pid: i32, tid: i32, limit: Remaining) -> Option<Self> {
        let registers = ptrace::registers(tid).ok()?;
        let proc = File::open(format!("/proc/{pid}")).ok()?;
        let text = crust_proc::read_text(&proc, tid, &format!("task/{tid}/status")).ok()?;
        let status = crust_proc::Fields::new(text);
        let set = |field| status.hex(field).unwrap_or(0);
        Some(Self {
            pid,
            tid,
            number: limit.number,
            place: limit.place,
            end: limit
                .left
                .map(|left| clock::monotonic().saturating_add(left)),
            at: (registers.rsp, registers.rip),
            switches: status.number(SWITCHES)?,
            disturbed: (set("SigPnd") | set("ShdPnd")) & !set("SigBlk") != 0,
            proc,
        })
    }

    fn left(&self) -> Option<u64> {
        Some(self.end?.saturating_sub(clock::monotonic()))
    }

    /// Returns the call in which the thread sleeps; `None` if it does not.
    ///
    /// Until a thread that was woken gets a processor, it still looks as if it slept in the call
    /// that it was woken from (kernel/sched/core.c:try_to_wake_up, `TASK_WAKING`). So it must have
    /// gone to sleep once more.
    fn asleep(&self) -> Option<Called> {
        for _ in 0..LOOKS {
            let call = (self.switches_now()? > self.switches)
                .then(|| Called::of(&self.proc, self.tid))
                .flatten();
            if call.is_some() {
                return call;
            }
            std::thread::sleep(PAUSE);
        }
        tracing::debug!(self.tid, "does not fall asleep again");
        None
    }

    fn switches_now(&self) -> Option<i64> {
        let name = format!("task/{}/status", self.tid);
        let text = crust_proc::read_text(&self.proc, self.tid, &name).ok()?;
        crust_proc::Fields::new(text).number(SWITCHES)
    }

    /// Detaches from the thread if its timeout has to be changed for a moment; else only prepares
    /// it.
    fn let_go(&self) {
        if self.place == TimeoutLocation::Register {
            self.set_register();
        } else if let Some(change) = Change::make(self) {
            // Otherwise the thread has died.
            if ptrace::detach(self.tid, 0).is_ok() {
                self.asleep();
            }
            change.undo();
        }
    }

    fn set_register(&self) {
        let (Some(left), Ok(mut registers)) = (self.left(), ptrace::registers(self.tid)) else {
            return;
        };
        registers.r10 = milliseconds(left);
        // If this fails, the thread has died.
        let _ = ptrace::set_registers(self.tid, &registers);
    }

    /// Writes a note about when the wait ends.
    fn note(&self) -> Option<()> {
        let call = self.asleep()?;
        let name = format!("task/{}/sched", self.tid);
        let (since, _) = parse_sched(&crust_proc::read_text(&self.proc, self.tid, &name).ok()?)?;
        if (call.stack, call.instruction) == self.at {
            let thread = thread_pidfd(self.pid, self.tid).ok()?;
            // On a kernel that cannot store the note, the next crust gives the thread more time.
            let _ = Note {
                since,
                number: self.number,
                end: self.end,
            }
            .write(thread.as_fd());
        }
        Some(())
    }
}

/// Detaches from threads whose timeout has to be changed for a moment, and prepares the others.
pub fn let_go(waiting: &[Waiting]) {
    for thread in waiting {
        thread.let_go();
    }
}

/// Notes for the next crust when the waits of resumed threads end.
pub fn note(waiting: &[Waiting]) {
    for thread in waiting {
        if !thread.disturbed && thread.place != TimeoutLocation::Register {
            thread.note();
        }
    }
}

/// Converts the remaining time to a timeout in milliseconds, rounded up.
pub(crate) fn milliseconds(left: u64) -> u64 {
    left.div_ceil(1_000_000).min(i32::MAX as u64)
}

/// A timeout that is changed for a moment.
enum Change {
    Memory(i32, RemoteAddr, [u8; 16]),
    Option(OwnedFd, i32, [u8; 16]),
}

impl Change {
    /// Returns `None` if there is nothing to change, or it cannot be changed: then the whole
    /// timeout applies again.
    fn make(thread: &Waiting) -> Option<Self> {
        let left = thread.left()?;
        let words = |unit: u64| {
            let parts = (left % SECOND).div_ceil(unit);
            // A timeout of zero would mean no timeout for a socket.
            let parts = if unit == 1 { parts } else { parts.max(1) };
            let carry = parts / (SECOND / unit);
            let seconds = (left / SECOND + carry).to_ne_bytes();
            let parts = (parts % (SECOND / unit)).to_ne_bytes();
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&seconds);
            bytes[8..].copy_from_slice(&parts);
            bytes
        };
        let of_memory = |address: u64, unit| {
            let address = RemoteAddr(address);
            let mut before = [0; 16];
            memory::read(thread.pid, address, &mut before).ok()?;
            memory::write(thread.pid, address, &words(unit)).ok()?;
            Some(Self::Memory(thread.pid, address, before))
        };
        let of_socket = |fd, option| {
            let process = pidfd::open(thread.pid).ok()?;
            let socket = pidfd::get_fd(process.as_fd(), fd).ok()?;
            let mut before = [0; 16];
            sockopt::get(socket.as_fd(), libc::SOL_SOCKET, option, &mut before).ok()?;
            sockopt::set(socket.as_fd(), libc::SOL_SOCKET, option, &words(1000)).ok()?;
            Some(Self::Option(socket, option, before))
        };
        match thread.place {
            TimeoutLocation::Register | TimeoutLocation::Kernel => None,
            TimeoutLocation::Timespec(address) => of_memory(address, 1),
            TimeoutLocation::Timeval(address) => of_memory(address, 1000),
            TimeoutLocation::Receive(fd) => of_socket(fd, libc::SO_RCVTIMEO),
            TimeoutLocation::Send(fd) => of_socket(fd, libc::SO_SNDTIMEO),
        }
    }

    fn undo(self) {
        // If the thread or socket is gone, there is nothing to put back.
        match self {
            Self::Memory(pid, address, before) => {
                let _ = memory::write(pid, address, &before);
            }
            Self::Option(socket, option, before) => {
                let _ = sockopt::set(socket.as_fd(), libc::SOL_SOCKET, option, &before);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_a_part_is_given_away() {
        assert_eq!(milliseconds(1), 1);
        assert_eq!(milliseconds(2_000_000), 2);
        assert_eq!(milliseconds(u64::MAX), i32::MAX as u64);
    }
}
