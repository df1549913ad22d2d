// SPDX-License-Identifier: GPL-2.0

//! What a process is known by: its numbers, its process group and session, its start time.

#![forbid(unsafe_code)]

use crate::uapi::{
    SetIds,
    SetPid,
    SetStart, //
};
use kernel::{
    checkpoint::Tracee,
    prelude::*, //
};

pub(crate) fn set_pid(request: &SetPid) -> Result {
    if request.flags != 0 || request.pad != 0 {
        return Err(EINVAL);
    }
    let nr = request.nr.get(..request.count as usize).ok_or(EINVAL)?;
    Tracee::with(request.pidfd, |tracee| tracee.set_pid(nr))
}

pub(crate) fn set_ids(request: &SetIds) -> Result {
    if request.flags != 0 {
        return Err(EINVAL);
    }
    Tracee::with(request.pidfd, |tracee| {
        tracee.set_ids(request.pgid, request.sid)
    })
}

pub(crate) fn set_start(request: &SetStart) -> Result {
    if request.flags != 0 {
        return Err(EINVAL);
    }
    Tracee::with(request.pidfd, |tracee| {
        tracee.set_start(request.start_time, request.start_boottime)
    })
}
