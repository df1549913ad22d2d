// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The timeout of the system call in which a thread was stopped.

use crust_model::plan::{Remaining, TimeoutLocation};

use crate::clock;

/// When a wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// The wait has no timeout, or the kernel takes care of it.
    Never,
    /// At this time of the monotonic clock.
    At(u64),
    /// The end is not known.
    Unknown,
}

/// The timeout of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyscallTimeout {
    /// The number of the call.
    pub number: i64,
    /// Where the timeout is stored.
    pub place: TimeoutLocation,
    /// When the wait ends.
    pub end: Deadline,
    /// When the thread was stopped, on the monotonic clock.
    pub stopped: u64,
}

impl SyscallTimeout {
    /// Returns the time that was left when the thread was stopped, in nanoseconds.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.end {
            Deadline::At(end) => Some(end.saturating_sub(self.stopped)),
            Deadline::Never | Deadline::Unknown => None,
        }
    }

    /// Returns the time that is left now; `None` if that is not known.
    pub fn now(&self) -> Option<Remaining> {
        let left = match self.end {
            Deadline::Never => None,
            Deadline::At(end) => Some(end.saturating_sub(clock::monotonic())),
            Deadline::Unknown => return None,
        };
        Some(Remaining {
            number: self.number,
            place: self.place,
            left,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left() {
        let mut limit = SyscallTimeout {
            place: TimeoutLocation::Kernel,
            number: libc::SYS_poll,
            end: Deadline::At(30),
            stopped: 10,
        };
        assert_eq!(limit.left(), Some(20));
        limit.stopped = 40;
        assert_eq!(limit.left(), Some(0));
        limit.end = Deadline::Never;
        assert_eq!(limit.left(), None);
    }
}
