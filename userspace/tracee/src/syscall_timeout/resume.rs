// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Letting threads go into their calls with what is left of a limit.
//!
//! The kernel reads a limit when the call begins. So for the moment until the thread sleeps again, what is
//! left stands where the program has the whole of it, and then all is as before: the program
//! has neither other registers nor other memory when its call returns. Only a limit in a register stays
//! changed, until the call returns; the system call interface of C libraries hides that.
//!
//! Should crust be killed in that moment, a few dozen microseconds, the limit stays shortened.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crust_model::plan::SECOND;
use crust_sys::{RemoteAddr, memory, pidfd, ptrace, sockopt};

use super::blocked_since::{Called, parse_sched};
use super::note::Note;
use super::{Remaining, TimeoutLocation, thread_pidfd};
use crate::clock;

/// How often it is looked whether a thread has fallen asleep again. If its call returns at once, it may never.
/// This is no time: a machine may be busy, but each look lets the thread have a processor.
const LOOKS: u32 = 1000;
const PAUSE: Duration = Duration::from_micros(20);

/// A field of `/proc/PID/task/TID/status`.
const SWITCHES: &str = "voluntary_ctxt_switches";

/// A stopped thread that is about to go on with a call that has a limit.
#[derive(Debug)]
pub struct Waiting {
    pid: i32,
    tid: i32,
    number: i64,
    place: TimeoutLocation,
    /// When the wait ends, on the monotonic clock; `None` if that is up to the kernel.
    end: Option<u64>,
    /// Where it stands in its call: stack pointer and instruction.
    at: (u64, u64),
    /// How often it has given up a processor, its stop included.
    switches: i64,
    proc: File,
    /// A signal waits that will end the call.
    disturbed: bool,
}

impl Waiting {
    /// `None` if the thread is gone.
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

    /// The call in which it sleeps; `None` if it does not.
    ///
    /// Until a thread that was woken has a processor, it still looks as if it slept in the call from which it was
    /// taken (kernel/sched/core.c:try_to_wake_up, `TASK_WAKING`). So it has to have gone to sleep once more.
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

    /// Lets it go if it needs a moment of its own for that; else it is only made ready.
    fn let_go(&self) {
        if self.place == TimeoutLocation::Register {
            self.set_register();
        } else if let Some(change) = Change::make(self) {
            // Else it has only died.
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
        // If it fails, the thread has died.
        let _ = ptrace::set_registers(self.tid, &registers);
    }

    /// Notes when its wait ends.
    fn note(&self) -> Option<()> {
        let call = self.asleep()?;
        let name = format!("task/{}/sched", self.tid);
        let (since, _) = parse_sched(&crust_proc::read_text(&self.proc, self.tid, &name).ok()?)?;
        if (call.stack, call.instruction) == self.at {
            let thread = thread_pidfd(self.pid, self.tid).ok()?;
            // A kernel that cannot note it: the next crust gives the thread more time.
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

/// Lets those go that need a moment for it, and makes the others ready.
pub fn let_go(waiting: &[Waiting]) {
    for thread in waiting {
        thread.let_go();
    }
}

/// Notes for the next crust when the waits end of threads that have been let go.
pub fn note(waiting: &[Waiting]) {
    for thread in waiting {
        if !thread.disturbed && thread.place != TimeoutLocation::Register {
            thread.note();
        }
    }
}

/// What is left as a limit in milliseconds: not a part of one is given away.
pub fn milliseconds(left: u64) -> u64 {
    left.div_ceil(1_000_000).min(i32::MAX as u64)
}

/// A limit that is changed for a moment.
enum Change {
    Memory(i32, RemoteAddr, [u8; 16]),
    Option(OwnedFd, i32, [u8; 16]),
}

impl Change {
    /// `None` if there is nothing to change, or it cannot be: then the whole limit is in force again.
    fn make(thread: &Waiting) -> Option<Self> {
        let left = thread.left()?;
        let words = |unit: u64| {
            let parts = (left % SECOND).div_ceil(unit);
            // No time at all would be no limit to a socket.
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
        // What is gone needs nothing put back.
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
