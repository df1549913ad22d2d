// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Helpers shared by the modules: system calls by number, with arguments of the right width.

use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::word;

/// An argument of a system call: a whole register. `libc::syscall` is variadic, and the upper half
/// of a narrower argument would be undefined.
pub(crate) trait Word {
    fn word(self) -> libc::c_long;
}

impl Word for i32 {
    fn word(self) -> libc::c_long {
        self.into()
    }
}

impl Word for u32 {
    fn word(self) -> libc::c_long {
        self.into()
    }
}

impl Word for i64 {
    fn word(self) -> libc::c_long {
        self
    }
}

impl Word for u64 {
    fn word(self) -> libc::c_long {
        word::to_long(self)
    }
}

impl Word for usize {
    fn word(self) -> libc::c_long {
        word::to_long(self as u64)
    }
}

impl<T> Word for *const T {
    fn word(self) -> libc::c_long {
        self as libc::c_long
    }
}

impl<T> Word for *mut T {
    fn word(self) -> libc::c_long {
        self as libc::c_long
    }
}

/// Converts the result of a raw system call.
pub(crate) fn result(value: libc::c_long) -> nix::Result<u64> {
    Errno::result(value).map(word::from_long)
}

/// Converts an error of `rustix`.
pub(crate) fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

/// Takes ownership of a descriptor that a raw system call has just created.
///
/// # Safety
///
/// `fd` must be the number of an open descriptor that nobody else owns.
pub(crate) unsafe fn owned(fd: u64) -> OwnedFd {
    // SAFETY: the caller promises what is required here.
    unsafe { OwnedFd::from_raw_fd(word::to_int(fd)) }
}

/// Makes a system call.
macro_rules! syscall {
    ($nr:expr $(, $arg:expr)* $(,)?) => {
        $crate::raw::result(libc::syscall($nr $(, $crate::raw::Word::word($arg))*))
    };
}
pub(crate) use syscall;
