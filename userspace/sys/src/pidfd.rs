// SPDX-License-Identifier: Apache-2.0 OR MIT

//! pidfds, which refer to the same task even when its number is reused.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::raw::{errno, syscall};
use crate::{Result, signal::SigInfo};

/// Opens a pidfd of a process (`pidfd_open(2)`).
///
/// # Errors
///
/// `ESRCH` if there is no such process, `EINVAL` if the number is not that of a process.
pub fn open(pid: i32) -> Result<OwnedFd> {
    open_with(pid, PidfdFlags::empty())
}

/// Opens a pidfd of a thread, which need not be a thread group leader (`PIDFD_THREAD`, Linux 6.9).
///
/// # Errors
///
/// `ESRCH` if there is no such thread, `EINVAL` on an older kernel.
pub fn open_thread(tid: i32) -> Result<OwnedFd> {
    open_with(tid, PidfdFlags::from_bits_retain(libc::PIDFD_THREAD))
}

fn open_with(pid: i32, flags: PidfdFlags) -> Result<OwnedFd> {
    // The kernel rejects other numbers in the same way.
    let pid = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw);
    pidfd_open(pid.ok_or(Errno::EINVAL)?, flags).map_err(errno)
}

/// Duplicates a descriptor of another process: it refers to the same open file description
/// (`pidfd_getfd(2)`).
pub fn get_fd(pidfd: BorrowedFd<'_>, fd: i32) -> Result<OwnedFd> {
    pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty()).map_err(errno)
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

/// `struct pidfd_info` of Linux 6.16.
#[repr(C)]
#[derive(Default)]
struct Info {
    /// The fields that are wanted; on return, those that are valid.
    mask: u64,
    _cgroup: u64,
    /// Process ids, user ids, group ids and the exit status.
    _ids: [u32; 12],
    coredump_mask: u32,
    _coredump_signal: u32,
}

/// Bits of [`coredump_mask`].
pub mod coredump {
    /// Core dumps are made as the user of the task (`dumpable` is 1).
    pub const USER: u32 = 1 << 2;
    /// Core dumps are made as root (`dumpable` is 2).
    pub const ROOT: u32 = 1 << 3;
}

/// Returns as whom core dumps of a process would be made, in bits of [`coredump`]; `None` on
/// kernels before 6.16, which do not tell.
///
/// # Errors
///
/// `ENOTTY` on kernels before 6.13, which do not know `PIDFD_GET_INFO`.
pub fn coredump_mask(pidfd: BorrowedFd<'_>) -> Result<Option<u32>> {
    const COREDUMP: u64 = 1 << 4;
    let mut info = Info {
        mask: COREDUMP,
        ..Info::default()
    };
    let request = crate::device::request(3, 0xff, 11, size_of::<Info>());
    // SAFETY: `info` is a structure of the size in the request number.
    unsafe { syscall!(libc::SYS_ioctl, pidfd.as_raw_fd(), request, &raw mut info) }?;
    Ok((info.mask & COREDUMP != 0).then_some(info.coredump_mask))
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
        if let Ok(Some(mask)) = coredump_mask(pidfd.as_fd()) {
            let dumpable = nix::sys::prctl::get_dumpable().unwrap();
            assert_eq!(mask & coredump::USER != 0, dumpable);
        }
    }
}
