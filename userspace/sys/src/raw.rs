// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Helpers shared by the modules: system calls by number, with arguments of the right width.

use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;

/// An argument of a system call: a whole register. `libc::syscall` is variadic, and the upper half
/// of a narrower argument would be undefined.
pub(crate) trait Word {
    fn word(self) -> libc::c_long;
}

macro_rules! word {
    ($($type:ty),*) => {
        $(impl Word for $type {
            fn word(self) -> libc::c_long {
                self as libc::c_long
            }
        })*
    };
}
word!(i32, u32, i64, u64, usize);

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
    Errno::result(value).map(|value| value as u64)
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
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Makes a system call.
macro_rules! syscall {
    ($nr:expr $(, $arg:expr)* $(,)?) => {
        $crate::raw::result(libc::syscall($nr $(, $crate::raw::Word::word($arg))*))
    };
}
pub(crate) use syscall;
