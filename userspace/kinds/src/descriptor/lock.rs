// SPDX-License-Identifier: Apache-2.0 OR MIT

//! File locks, as the `lock:` lines of `/proc/PID/fdinfo/N` show them (`fs/locks.c:lock_get_status`).
//!
//! A restore takes them again without waiting: if another program took the lock meanwhile, the restore fails and leaves
//! nothing behind.

use crust_model::plan::{Arg, Call, Data};
use crust_sys::word;
use serde::{Deserialize, Serialize};

/// The owner of a lock, which determines the call that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockKind {
    /// Owned by the open file description: `flock`.
    Flock,
    /// Owned by the descriptor table: `F_SETLK`.
    Posix,
    /// Owned by the open file description: `F_OFD_SETLK`.
    Ofd,
}

/// A file lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The owner of the lock.
    pub kind: LockKind,
    /// Whether it is a write lock rather than a read lock.
    pub is_exclusive: bool,
    /// The first byte.
    pub start: u64,
    /// The number of bytes; 0 for all that follow.
    pub length: u64,
}

/// Parses what follows `lock:`; `None` for a lease and for anything unknown.
#[must_use]
pub fn parse(line: &str) -> Option<Lock> {
    // 1: POSIX  ADVISORY  WRITE 1234 00:2a:123 0 EOF
    let mut words = line.split_whitespace().skip(1);
    let kind = match words.next()? {
        "FLOCK" => LockKind::Flock,
        "POSIX" => LockKind::Posix,
        "OFDLCK" => LockKind::Ofd,
        _ => return None,
    };
    if words.next()? != "ADVISORY" {
        return None;
    }
    let is_exclusive = match words.next()? {
        "WRITE" => true,
        "READ" => false,
        _ => return None,
    };
    let mut words = words.skip(2);
    let start: u64 = words.next()?.parse().ok()?;
    let length = match words.next()? {
        "EOF" => 0,
        end => end.parse::<u64>().ok()?.checked_sub(start)? + 1,
    };
    Some(Lock {
        kind,
        is_exclusive,
        start,
        length,
    })
}

impl Lock {
    /// Returns whether the lock belongs to the open file description rather than to the descriptor table.
    #[must_use]
    pub fn is_of_description(self) -> bool {
        self.kind != LockKind::Posix
    }

    /// Returns whether the lock can be taken through a descriptor with these flags.
    #[must_use]
    pub fn is_allowed(self, flags: i32) -> bool {
        match flags & libc::O_ACCMODE {
            libc::O_RDWR => true,
            libc::O_WRONLY => self.is_exclusive,
            _ => !self.is_exclusive,
        }
    }

    /// Returns the call that takes the lock through a descriptor.
    #[must_use]
    pub fn call(self, number: i32) -> Call {
        let what = format!("fd {number}: set the lock on bytes from {} on", self.start);
        let command = match self.kind {
            LockKind::Flock => {
                let exclusive = if self.is_exclusive {
                    libc::LOCK_EX
                } else {
                    libc::LOCK_SH
                };
                let args = [Arg::from(number), Arg::from(exclusive | libc::LOCK_NB)];
                return Call::new(what, libc::SYS_flock, args);
            }
            LockKind::Posix => libc::F_SETLK,
            LockKind::Ofd => libc::F_OFD_SETLK,
        };
        let mode = if self.is_exclusive {
            libc::F_WRLCK
        } else {
            libc::F_RDLCK
        };
        // struct flock: the type is a short, `l_whence` = SEEK_SET is 0, `l_pid` is 0.
        let flock = Data::words(&[word::from_int(mode), self.start, self.length, 0]);
        Call::new(
            what,
            libc::SYS_fcntl,
            [Arg::from(number), Arg::from(command), Arg::from(flock)],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let posix = parse("\t1: POSIX  ADVISORY  WRITE 359 00:13:11691 10 19").unwrap();
        assert_eq!(
            posix,
            Lock {
                kind: LockKind::Posix,
                is_exclusive: true,
                start: 10,
                length: 10
            }
        );
        let flock = parse("\t2: FLOCK  ADVISORY  READ 359 00:13:11691 0 EOF").unwrap();
        assert!(flock.is_of_description() && !flock.is_exclusive && flock.length == 0);
        let ofd = parse("\t3: OFDLCK ADVISORY  WRITE -1 00:13:11691 0 EOF").unwrap();
        assert_eq!(ofd.kind, LockKind::Ofd);
    }

    #[test]
    fn a_lease_is_no_lock() {
        assert_eq!(
            parse("\t1: LEASE  ACTIVE    READ 359 00:13:11691 0 EOF"),
            None
        );
        assert_eq!(parse(""), None);
    }
}
