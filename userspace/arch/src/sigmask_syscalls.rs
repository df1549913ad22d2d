// SPDX-License-Identifier: Apache-2.0 OR MIT

//! System calls that wait with a signal mask of their own.
//!
//! While a thread is in one of them, the mask in force (`SigBlk` of `/proc/PID/status`) is that of
//! the call. The kernel saves the mask from before the call to restore it afterwards
//! (`task_struct::saved_sigmask`), and that is what `PTRACE_GETSIGMASK` returns;
//! `PTRACE_SETSIGMASK` ends this state. Only another such call can set it up again.

use crust_sys::errno::ERESTARTNOHAND;
use crust_sys::ptrace::UserRegs;
use crust_sys::word;
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

/// Returns whether a thread with these registers was stopped in such a call. None of these calls
/// has had an effect yet when it ends with one of these errors.
pub fn in_call(registers: &UserRegs) -> bool {
    let ended = [-ERESTARTNOHAND, -(Errno::EINTR as i64)];
    CALLS.contains(&(word::to_long(registers.orig_rax)))
        && ended.contains(&(word::to_long(registers.rax)))
}
