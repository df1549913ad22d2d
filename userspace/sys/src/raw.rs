// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the modules share: system calls by number, and plain structures as bytes.

use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;

/// The result of a raw system call.
pub(crate) fn result(value: libc::c_long) -> nix::Result<u64> {
    Errno::result(value).map(|value| value as u64)
}

/// A descriptor that a raw system call has just made.
///
/// # Safety
///
/// `fd` is the number of an open descriptor that nobody else owns.
pub(crate) unsafe fn owned(fd: u64) -> OwnedFd {
    // SAFETY: what the caller promises is what is asked for here.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Makes a system call; numbers and pointers are passed as they are.
macro_rules! syscall {
    ($nr:expr $(, $arg:expr)* $(,)?) => {
        $crate::raw::result(libc::syscall($nr $(, $arg)*))
    };
}
pub(crate) use syscall;
