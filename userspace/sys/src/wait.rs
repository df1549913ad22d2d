// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Waiting for children and tracees, threads included (`__WALL`).

use nix::errno::Errno;

use crate::raw::syscall;
use crate::{Result, word};

/// The report of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The task exited with this code.
    Exited(i32),
    /// A signal killed the task.
    Killed(i32),
    /// A tracee is in a ptrace-stop.
    Stopped {
        /// The signal, with bit 7 set for a syscall-stop.
        signal: i32,
        /// `PTRACE_EVENT_*`, or 0.
        event: i32,
    },
    /// A child was continued by `SIGCONT`.
    Continued,
}

impl Status {
    /// Decodes the status that `wait4` stores.
    #[must_use]
    pub fn from_raw(status: i32) -> Self {
        match status & 0xff {
            0 => Self::Exited(status >> 8 & 0xff),
            0x7f => Self::Stopped {
                signal: status >> 8 & 0xff,
                event: status >> 16,
            },
            0xff => Self::Continued,
            signal => Self::Killed(signal & 0x7f),
        }
    }

    /// Returns whether the task is gone.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Exited(_) | Self::Killed(_))
    }
}

/// Waits until a task with this id (-1: any) reports something.
pub fn wait(tid: i32) -> Result<(i32, Status)> {
    loop {
        match wait4(tid, libc::__WALL) {
            Err(Errno::EINTR) => {}
            Ok(Some(report)) => return Ok(report),
            Ok(None) => unreachable!("without WNOHANG there is a report"),
            Err(errno) => return Err(errno),
        }
    }
}

/// Waits like [`wait`], for a task that needs a few microseconds only: it is polled a few times
/// before we go to sleep. To be woken, and to wake an idle processor for the other task, costs more
/// than that.
pub fn wait_awake(tid: i32) -> Result<(i32, Status)> {
    const LOOKS: u32 = 30;
    for _ in 0..LOOKS {
        if let Some(report) = poll(tid)? {
            return Ok(report);
        }
        // If the task is to run on this processor, it does so now.
        std::thread::yield_now();
    }
    wait(tid)
}

/// Returns what a task (-1: any) has to report now, if anything.
pub fn poll(tid: i32) -> Result<Option<(i32, Status)>> {
    wait4(tid, libc::__WALL | libc::WNOHANG)
}

fn wait4(tid: i32, options: i32) -> Result<Option<(i32, Status)>> {
    let mut status = 0_i32;
    // SAFETY: the kernel writes one int to `status`; no rusage is asked for.
    let tid = unsafe {
        syscall!(
            libc::SYS_wait4,
            tid,
            &raw mut status,
            options,
            std::ptr::null_mut::<libc::rusage>()
        )
    }?;
    Ok((tid != 0).then(|| (word::to_int(tid), Status::from_raw(status))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        assert_eq!(Status::from_raw(0x0300), Status::Exited(3));
        assert_eq!(Status::from_raw(9), Status::Killed(9));
        assert_eq!(Status::from_raw(0x8b), Status::Killed(11));
        let event = Status::from_raw(0x0080_057f);
        assert_eq!(
            event,
            Status::Stopped {
                signal: 5,
                event: 128
            }
        );
    }
}
