// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Requests of `fcntl(2)` that `nix` lacks.

use std::os::fd::{AsRawFd, BorrowedFd};

use linux_raw_sys::general::{F_GETOWN_EX, F_GETSIG, F_SETOWN_EX};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::raw::{Word, syscall};
use crate::{Result, word};

/// The recipient of the signals of a descriptor with `O_ASYNC` (`struct f_owner_ex`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// 0: a thread, 1: a process, 2: a process group.
    pub kind: i32,
    /// The id of the recipient; 0 for nobody.
    pub pid: i32,
}

fn number(fd: BorrowedFd<'_>, command: impl Word, argument: u64) -> Result<u64> {
    // SAFETY: callers only pass commands whose argument is a number.
    unsafe { syscall!(libc::SYS_fcntl, fd.as_raw_fd(), command, argument) }
}

/// Returns the owner (`F_GETOWN_EX`).
pub fn owner(fd: BorrowedFd<'_>) -> Result<Owner> {
    let mut owner = Owner::default();
    // SAFETY: the command writes one `struct f_owner_ex`.
    unsafe { syscall!(libc::SYS_fcntl, fd.as_raw_fd(), F_GETOWN_EX, &raw mut owner) }?;
    Ok(owner)
}

/// Sets the owner (`F_SETOWN_EX`).
pub fn set_owner(fd: BorrowedFd<'_>, owner: Owner) -> Result<()> {
    // SAFETY: the command reads one `struct f_owner_ex`.
    unsafe {
        syscall!(
            libc::SYS_fcntl,
            fd.as_raw_fd(),
            F_SETOWN_EX,
            &raw const owner
        )
    }?;
    Ok(())
}

/// Returns the signal sent instead of `SIGIO`, or 0 (`F_GETSIG`).
pub fn signal(fd: BorrowedFd<'_>) -> Result<i32> {
    number(fd, F_GETSIG, 0).map(word::to_int)
}

/// Returns the capacity of a pipe, in bytes (`F_GETPIPE_SZ`).
pub fn pipe_size(fd: BorrowedFd<'_>) -> Result<u32> {
    number(fd, libc::F_GETPIPE_SZ, 0).map(word::to_uint)
}

/// Sets the capacity of a pipe (`F_SETPIPE_SZ`); returns the new capacity, which may be larger than
/// requested.
pub fn set_pipe_size(fd: BorrowedFd<'_>, size: u32) -> Result<u32> {
    number(fd, libc::F_SETPIPE_SZ, u64::from(size)).map(word::to_uint)
}

/// Returns the seals of a memfd (`F_GET_SEALS`); `EINVAL` for other files.
pub fn seals(fd: BorrowedFd<'_>) -> Result<u32> {
    number(fd, libc::F_GET_SEALS, 0).map(word::to_uint)
}

/// Returns how many bytes can be read (`FIONREAD`; for sockets `SIOCINQ`).
pub fn readable(fd: BorrowedFd<'_>) -> Result<u32> {
    count(fd, libc::FIONREAD)
}

/// Returns how many bytes of a socket have not been sent, or not been acknowledged, yet
/// (`SIOCOUTQ`).
pub fn unsent(fd: BorrowedFd<'_>) -> Result<u32> {
    count(fd, libc::TIOCOUTQ)
}

fn count(fd: BorrowedFd<'_>, request: libc::c_ulong) -> Result<u32> {
    let mut bytes = 0_i32;
    // SAFETY: the requests above write one int.
    unsafe { syscall!(libc::SYS_ioctl, fd.as_raw_fd(), request, &raw mut bytes) }?;
    u32::try_from(bytes).map_err(|_| Errno::EOVERFLOW)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_pipe() {
        let (read, write) = nix::unistd::pipe().unwrap();
        assert_eq!(set_pipe_size(write.as_fd(), 8192), Ok(8192));
        assert_eq!(pipe_size(read.as_fd()), Ok(8192));
        assert_eq!(owner(read.as_fd()).unwrap().pid, 0);
        nix::unistd::write(&write, b"abc").unwrap();
        assert_eq!(readable(read.as_fd()), Ok(3));
    }
}
