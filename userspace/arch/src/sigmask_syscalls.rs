// SPDX-License-Identifier: Apache-2.0 OR MIT

//! System calls that wait with a signal mask of their own.
//!
//! While a thread is in one, the mask in force (`SigBlk` of `/proc/PID/status`) is that of the call.
//! The kernel keeps the one from outside to put it back (`task_struct::saved_sigmask`), and that is
//! what `PTRACE_GETSIGMASK` tells; `PTRACE_SETSIGMASK` ends this state. It can only be had again by
//! a call.

use crust_sys::ptrace::UserRegs;
use nix::errno::Errno;

use crate::SYS_IO_PGETEVENTS;

const CALLS: [i64; 6] = [
    libc::SYS_rt_sigsuspend,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    SYS_IO_PGETEVENTS,
];

/// The kernel's `-ERESTARTNOHAND`.
const UNLESS_HANDLED: i64 = -514;

/// Whether a thread with these registers was stopped in such a call. All of them have done nothing
/// yet when they end so.
pub fn in_call(registers: &UserRegs) -> bool {
    let ended = [UNLESS_HANDLED, -(Errno::EINTR as i64)];
    CALLS.contains(&(registers.orig_rax as i64)) && ended.contains(&(registers.rax as i64))
}
