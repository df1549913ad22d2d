// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A note of the call a thread waits in and until when, left for the next crust.
//!
//! A thread that crust resumes in its call with less than the whole timeout still shows the whole
//! one to observers, and to the kernel it may be in `restart_syscall`. So both are noted in an
//! extended attribute of the thread's pidfd, which vanishes with the thread. The note is valid as
//! long as the thread has not run since.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use crust_sys::{word, xattr};
use nix::errno::Errno;
use zerocopy::IntoBytes;

const NAME: &CStr = c"trusted.crust.limit";

/// A wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// When the thread last ran, on the clock of its processor.
    pub since: u64,
    /// The number of the call.
    pub number: i64,
    /// When the wait ends, on the monotonic clock.
    pub end: Option<u64>,
}

impl Note {
    /// Writes the note.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` before Linux 6.17.
    pub fn write(&self, thread: BorrowedFd<'_>) -> nix::Result<()> {
        let words = [
            self.since,
            word::from_long(self.number),
            self.end.unwrap_or(u64::MAX),
        ];
        xattr::set(thread, NAME, words.as_bytes())
    }

    /// Returns the note on the wait of a thread that last ran at `since`.
    pub fn read(thread: BorrowedFd<'_>, since: u64) -> Option<Self> {
        let mut words = [0_u64; 3];
        match xattr::get(thread, NAME, words.as_mut_bytes()) {
            Ok(24) if words[0] == since => Some(Self {
                since,
                number: word::to_long(words[1]),
                end: (words[2] != u64::MAX).then_some(words[2]),
            }),
            Ok(_) | Err(Errno::ERANGE) => {
                // The note is about another wait.
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
