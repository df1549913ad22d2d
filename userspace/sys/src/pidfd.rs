// SPDX-License-Identifier: Apache-2.0 OR MIT

//! pidfds: a task that stays the same task when its number is used again.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::raw::{owned, syscall};
use crate::{Result, signal::SigInfo};

/// Opens a pidfd to a process (`pidfd_open(2)`).
pub fn open(pid: i32) -> Result<OwnedFd> {
    open_with(pid, 0)
}

/// Opens a pidfd to a thread, which need not lead its process (`PIDFD_THREAD`, Linux 6.9).
pub fn open_thread(tid: i32) -> Result<OwnedFd> {
    open_with(tid, libc::PIDFD_THREAD)
}

fn open_with(pid: i32, flags: u32) -> Result<OwnedFd> {
    // SAFETY: the call takes numbers only; what it returns is a new descriptor.
    unsafe { syscall!(libc::SYS_pidfd_open, pid, flags).map(|fd| owned(fd)) }
}

/// Takes a descriptor out of another process: the very open file description
/// (`pidfd_getfd(2)`).
pub fn get_fd(pidfd: BorrowedFd<'_>, fd: i32) -> Result<OwnedFd> {
    // SAFETY: the call takes numbers only; what it returns is a new descriptor.
    unsafe { syscall!(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0).map(|fd| owned(fd)) }
}

/// Sends a signal to the process, or to the thread of a `PIDFD_THREAD` descriptor; signal 0 only
/// asks whether it is there (`pidfd_send_signal(2)`).
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

/// What `PIDFD_GET_INFO` tells (Linux 6.13; `struct pidfd_info`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Bits of [`info_mask`]: on return, what holds.
    pub mask: u64,
    /// The id of its cgroup.
    pub cgroupid: u64,
    /// Process id, in the pid namespace of the caller.
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
    /// With [`info_mask::COREDUMP`] (Linux 6.16): whether it may be dumped.
    pub coredump_mask: u32,
    /// The signal of its core dump.
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
    /// It dumps core.
    pub const DUMPED: u32 = 1 << 0;
    /// It may not (`dumpable` is 0).
    pub const SKIP: u32 = 1 << 1;
    /// As its user (`dumpable` is 1).
    pub const USER: u32 = 1 << 2;
    /// As root (`dumpable` is 2).
    pub const ROOT: u32 = 1 << 3;
}

/// Asks about the task; `mask` says what is wanted beyond what always comes.
pub fn info(pidfd: BorrowedFd<'_>, mask: u64) -> Result<Info> {
    let mut info = Info {
        mask,
        ..Info::default()
    };
    let request = crate::device::request(3, 0xff, 11, size_of::<Info>());
    // SAFETY: `info` is a structure of the size that the request number tells.
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
