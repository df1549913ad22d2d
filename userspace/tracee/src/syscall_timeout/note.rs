// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a thread waits in and until when, for the next crust.
//!
//! A thread that crust lets go into its call with less than the whole limit shows the whole one to whoever
//! looks, and to the kernel it may be in `restart_syscall`. So both are noted in an extended attribute of
//! the thread's pidfd, which is gone with the thread. It holds as long as the thread has not run since.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use crust_sys::xattr;
use nix::errno::Errno;
use zerocopy::IntoBytes;

const NAME: &CStr = c"trusted.crust.limit";

/// A wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// When the thread ran last, on the clock of its processor.
    pub since: u64,
    /// The number of the call.
    pub number: i64,
    /// When it ends, on the monotonic clock.
    pub end: Option<u64>,
}

impl Note {
    /// Notes it.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` before Linux 6.17.
    pub fn write(&self, thread: BorrowedFd<'_>) -> nix::Result<()> {
        let words = [self.since, self.number as u64, self.end.unwrap_or(u64::MAX)];
        xattr::set(thread, NAME, words.as_bytes())
    }

    /// What was noted of the wait of a thread that ran last at `since`.
    pub fn read(thread: BorrowedFd<'_>, since: u64) -> Option<Self> {
        let mut words = [0_u64; 3];
        match xattr::get(thread, NAME, words.as_mut_bytes()) {
            Ok(24) if words[0] == since => Some(Self {
                since,
                number: words[1] as i64,
                end: (words[2] != u64::MAX).then_some(words[2]),
            }),
            Ok(_) | Err(Errno::ERANGE) => {
                // Of another wait.
                let _ = xattr::remove(thread, NAME);
                None
            }
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use crust_sys::pidfd;

    use super::*;

    #[test]
    fn a_note_is_of_one_sleep() {
        let us = pidfd::open(std::process::id() as i32).unwrap();
        let us = us.as_fd();
        let note = Note {
            since: 5,
            number: libc::SYS_poll,
            end: Some(77),
        };
        if note.write(us).is_err() {
            // An older kernel, or no root.
            return;
        }
        assert_eq!(Note::read(us, 5), Some(note));
        assert_eq!(Note::read(us, 6), None);
        assert_eq!(Note::read(us, 5), None);
        let endless = Note { end: None, ..note };
        endless.write(us).unwrap();
        assert_eq!(Note::read(us, 5), Some(endless));
    }
}
