// SPDX-License-Identifier: GPL-2.0

//! What a stopped task is known by and has used, and what it holds that `/proc` does not tell.

#![forbid(unsafe_code)]

use kernel::{
    checkpoint::{
        Pidfd,
        Tracee, //
    },
    prelude::*,
    uapi, //
};

/// Calls `f` with the task, if no flag is given: none is defined.
fn with(pidfd: i32, flags: u32, f: impl FnOnce(&Tracee) -> Result) -> Result {
    if flags != 0 {
        return Err(EINVAL);
    }
    Tracee::with(&Pidfd::fget(pidfd)?, f)
}

#[cfg(CONFIG_CKPT_SET_PID)]
pub(crate) fn set_pid(request: &uapi::ckpt_set_pid) -> Result {
    let nr = request.nr.get(..request.count as usize).ok_or(EINVAL)?;
    with(request.pidfd, request.flags, |tracee| tracee.set_pid(nr))
}

pub(crate) fn set_ids(request: &uapi::ckpt_set_ids) -> Result {
    with(request.pidfd, request.flags, |tracee| {
        tracee.set_ids(request.pgid, request.sid)
    })
}

pub(crate) fn set_start(request: &uapi::ckpt_set_start) -> Result {
    with(request.pidfd, request.flags, |tracee| {
        tracee.set_start(request.start_boottime)
    })
}

pub(crate) fn add_usage(request: &uapi::ckpt_usage) -> Result {
    with(request.pidfd, request.flags, |tracee| {
        tracee.add_usage(request)
    })
}

pub(crate) fn sigactions(request: &mut uapi::ckpt_sigactions) -> Result {
    with(request.pidfd, request.flags, |tracee| {
        tracee.read_sigactions(request);
        Ok(())
    })
}

/// The answer begins with zeros, whatever the caller's structure held.
pub(crate) fn thread(request: &mut uapi::ckpt_thread) -> Result {
    let (pidfd, flags) = (request.pidfd, request.flags);
    *request = Zeroable::zeroed();
    request.pidfd = pidfd;
    with(pidfd, flags, |tracee| {
        tracee.read_thread(request);
        Ok(())
    })
}

/// As [`thread`].
pub(crate) fn process(request: &mut uapi::ckpt_process) -> Result {
    let (pidfd, flags) = (request.pidfd, request.flags);
    *request = Zeroable::zeroed();
    request.pidfd = pidfd;
    with(pidfd, flags, |tracee| {
        tracee.read_process(request);
        Ok(())
    })
}
