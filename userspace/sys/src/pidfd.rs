// SPDX-License-Identifier: Apache-2.0 OR MIT

//! pidfds, which refer to the same task even when its number is reused.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::raw::{owned, syscall};
use crate::{Result, signal::SigInfo};

/// Opens a pidfd of a process (`pidfd_open(2)`).
pub fn open(pid: i32) -> Result<OwnedFd> {
    open_with(pid, 0)
}

/// Opens a pidfd of a thread, which need not be a thread group leader (`PIDFD_THREAD`, Linux 6.9).
pub fn open_thread(tid: i32) -> Result<OwnedFd> {
    open_with(tid, libc::PIDFD_THREAD)
}

fn open_with(pid: i32, flags: u32) -> Result<OwnedFd> {
    // SAFETY: the call takes numbers only; it returns a new descriptor.
    unsafe { syscall!(libc::SYS_pidfd_open, pid, flags).map(|fd| owned(fd)) }
}

/// Duplicates a descriptor of another process: it refers to the same open file description
/// (`pidfd_getfd(2)`).
pub fn get_fd(pidfd: BorrowedFd<'_>, fd: i32) -> Result<OwnedFd> {
    // SAFETY: the call takes numbers only; it returns a new descriptor.
    unsafe { syscall!(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0).map(|fd| owned(fd)) }
}

/// Sends a signal to a process, or to the thread of a `PIDFD_THREAD` descriptor; signal 0 only
/// checks that it exists (`pidfd_send_signal(2)`).
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32, info: Option<&SigInfo>) -> Result<()> {
    let info = info.map_or(std::ptr::null(), |info| info.bytes.as_ptr());
    // SAFETY: `info` is null or a siginfo of the size that the kernel copies.
    unsafe {
        syscall!(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            info,
            0
        )
    }?;
    Ok(())
}

/// The answer of `PIDFD_GET_INFO` (Linux 6.13; `struct pidfd_info`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Bits of [`info_mask`]: on return, the fields that are valid.
    pub mask: u64,
    /// The id of the cgroup.
    pub cgroupid: u64,
    /// The process id, in the pid namespace of the caller.
    pub pid: u32,
    /// Thread group id.
    pub tgid: u32,
    /// The parent's process id.
    pub ppid: u32,
    /// Real user id.
    pub ruid: u32,
    /// Real group id.
    pub rgid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Saved user id.
    pub suid: u32,
    /// Saved group id.
    pub sgid: u32,
    /// File system user id.
    pub fsuid: u32,
    /// File system group id.
    pub fsgid: u32,
    /// The exit status as of `wait4`, with [`info_mask::EXIT`].
    pub exit_code: i32,
    /// Bits of [`coredump`], with [`info_mask::COREDUMP`] (Linux 6.16).
    pub coredump_mask: u32,
    /// The signal that caused the core dump.
    pub coredump_signal: u32,
}

/// Bits of [`Info::mask`].
pub mod info_mask {
    /// The process ids.
    pub const PID: u64 = 1 << 0;
    /// The user and group ids.
    pub const CREDS: u64 = 1 << 1;
    /// `cgroupid`.
    pub const CGROUPID: u64 = 1 << 2;
    /// `exit_code`: the task was reaped.
    pub const EXIT: u64 = 1 << 3;
    /// `coredump_mask`.
    pub const COREDUMP: u64 = 1 << 4;
}

/// Bits of [`Info::coredump_mask`].
pub mod coredump {
    /// The task dumps core.
    pub const DUMPED: u32 = 1 << 0;
    /// The task may not dump core (`dumpable` is 0).
    pub const SKIP: u32 = 1 << 1;
    /// Core dumps are made as the user of the task (`dumpable` is 1).
    pub const USER: u32 = 1 << 2;
    /// Core dumps are made as root (`dumpable` is 2).
    pub const ROOT: u32 = 1 << 3;
}

/// Asks about a task; `mask` says what is wanted in addition to what is always returned.
pub fn info(pidfd: BorrowedFd<'_>, mask: u64) -> Result<Info> {
    let mut info = Info {
        mask,
        ..Info::default()
    };
    let request = crate::device::request(3, 0xff, 11, size_of::<Info>());
    // SAFETY: `info` is a structure of the size in the request number.
    unsafe { syscall!(libc::SYS_ioctl, pidfd.as_raw_fd(), request, &raw mut info) }?;
    Ok(info)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn our_own_pidfd() {
        let us = std::process::id();
        let pidfd = open(us as i32).unwrap();
        send_signal(pidfd.as_fd(), 0, None).unwrap();
        // Kernels before 6.13 do not know the request.
        if let Ok(info) = info(pidfd.as_fd(), info_mask::COREDUMP) {
            assert_eq!(info.pid, us);
        }
    }
}
