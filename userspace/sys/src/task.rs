// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Queries that work for any task, by its thread id.

use serde::{Deserialize, Serialize};

use crate::raw::syscall;
use crate::{RemoteAddr, Result, word};

/// Returns a thread's list of robust futexes: head and length (`get_robust_list(2)`).
pub fn robust_list(tid: i32) -> Result<(RemoteAddr, u64)> {
    let (mut head, mut length) = (0_u64, 0_u64);
    // SAFETY: the call writes a pointer and a size, both of 8 bytes.
    unsafe {
        syscall!(
            libc::SYS_get_robust_list,
            tid,
            &raw mut head,
            &raw mut length
        )
    }?;
    Ok((RemoteAddr(head), length))
}

/// The scheduling policy and attributes of a thread (`struct sched_attr`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduling {
    /// The size of this structure.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// The nice value, for `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// The static priority, for `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// The runtime for `SCHED_DEADLINE`, else the time slice, in nanoseconds.
    pub runtime: u64,
    /// The deadline for `SCHED_DEADLINE`, in nanoseconds.
    pub deadline: u64,
    /// The period for `SCHED_DEADLINE`, in nanoseconds.
    pub period: u64,
    /// The lower utilisation clamp.
    pub util_min: u32,
    /// The upper utilisation clamp.
    pub util_max: u32,
}

/// Returns how a thread is scheduled (`sched_getattr(2)`).
pub fn scheduling(tid: i32) -> Result<Scheduling> {
    let mut answer = Scheduling::default();
    let size = size_of::<Scheduling>();
    // SAFETY: the call writes at most `size` bytes.
    unsafe { syscall!(libc::SYS_sched_getattr, tid, &raw mut answer, size, 0) }?;
    Ok(answer)
}

/// Returns the I/O class and priority (`ioprio_get(2)` of `IOPRIO_WHO_PROCESS`).
pub fn io_priority(tid: i32) -> Result<u32> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: the call takes numbers only.
    unsafe { syscall!(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, tid) }.map(word::to_uint)
}

/// Returns the processors that a thread may run on, as the bits of the kernel's mask
/// (`sched_getaffinity(2)`).
pub fn affinity(tid: i32) -> Result<Vec<u8>> {
    // Room for 8192 processors, the maximum that x86 can be configured for.
    let mut mask = vec![0_u8; 1024];
    // SAFETY: the call writes at most `mask.len()` bytes.
    let length = unsafe {
        syscall!(
            libc::SYS_sched_getaffinity,
            tid,
            mask.len(),
            mask.as_mut_ptr()
        )
    }?;
    mask.truncate(word::to_size(length));
    Ok(mask)
}

/// Returns the core scheduling cookie of a thread (`PR_SCHED_CORE`): it shares a processor core
/// only with threads that have the same cookie, whose value has no other meaning; 0 is the default.
/// `ENODEV` and `EINVAL` where core scheduling is not supported.
pub fn core_cookie(tid: i32) -> Result<u64> {
    let mut cookie = 0_u64;
    // SAFETY: the call writes a 64-bit integer.
    unsafe {
        syscall!(
            libc::SYS_prctl,
            libc::PR_SCHED_CORE,
            libc::PR_SCHED_CORE_GET,
            tid,
            libc::PR_SCHED_CORE_SCOPE_THREAD,
            &raw mut cookie
        )
    }?;
    Ok(cookie)
}

/// Sends a signal to one thread (`tgkill(2)`).
pub fn tgkill(pid: i32, tid: i32, signal: i32) -> Result<()> {
    // SAFETY: the call takes numbers only.
    unsafe { syscall!(libc::SYS_tgkill, pid, tid, signal) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ourselves() {
        assert!(scheduling(0).unwrap().size >= 48);
        assert!(affinity(0).unwrap().iter().any(|&byte| byte != 0));
        io_priority(0).unwrap();
        // glibc registers one for every thread.
        assert_ne!(robust_list(0).unwrap().0, RemoteAddr(0));
    }
}
