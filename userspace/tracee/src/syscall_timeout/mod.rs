// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The time limits of calls in which threads wait.
//!
//! A call that is interrupted and begun again waits for the whole of its limit once more, unless the
//! kernel keeps what was left (`struct restart_block`) or has written it to where the program
//! gave the limit (`select` and its kin). For all others it is told here when the wait ends:
//!
//! * by what `nanosleep` has written for the program,
//! * by a [`note`] of a former crust,
//! * or else by the moment when the thread fell [`blocked_since`].
//!
//! The end is never earlier than it would have been. How a thread is let go with what is left, is in
//! [`resume`].

pub mod blocked_since;
pub mod note;
pub mod processor;
pub mod resume;
pub mod sleeps;
pub mod wait;

use std::os::fd::OwnedFd;

pub use crust_model::plan::{Remaining, TimeoutLocation};
use crust_sys::pidfd;

pub use self::sleeps::Sleeps;
pub use self::wait::{arguments, is_relative, is_until_used};
use crate::clock;

// The libc crate lacks it.

/// When a wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has no limit, or it is up to the kernel.
    Never,
    /// At this moment of the monotonic clock.
    At(u64),
    /// That is not known.
    Unknown,
}

/// The limit of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The number of the call.
    pub number: i64,
    /// Where it is.
    pub place: TimeoutLocation,
    /// When the wait ends.
    pub end: End,
    /// When the thread was stopped, on the monotonic clock.
    pub stopped: u64,
}

impl Limit {
    /// What was left when the thread was stopped, in nanoseconds.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.end {
            End::At(end) => Some(end.saturating_sub(self.stopped)),
            End::Never | End::Unknown => None,
        }
    }

    /// What is left of it now; `None` if that is not known.
    pub fn now(&self) -> Option<Remaining> {
        let left = match self.end {
            End::Never => None,
            End::At(end) => Some(end.saturating_sub(clock::monotonic())),
            End::Unknown => return None,
        };
        Some(Remaining {
            number: self.number,
            place: self.place,
            left,
        })
    }
}

fn thread_pidfd(pid: i32, tid: i32) -> nix::Result<OwnedFd> {
    if tid == pid {
        pidfd::open(pid)
    } else {
        pidfd::open_thread(tid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left() {
        let mut limit = Limit {
            place: TimeoutLocation::Kernel,
            number: libc::SYS_poll,
            end: End::At(30),
            stopped: 10,
        };
        assert_eq!(limit.left(), Some(20));
        limit.stopped = 40;
        assert_eq!(limit.left(), Some(0));
        limit.end = End::Never;
        assert_eq!(limit.left(), None);
    }
}
