// SPDX-License-Identifier: GPL-2.0

//! What a stopped task holds and `/proc` does not tell.

#![forbid(unsafe_code)]

use crate::uapi::{
    Process,
    Sigactions,
    Thread, //
};
use kernel::{
    checkpoint::Tracee,
    prelude::*, //
};

pub(crate) fn sigactions(request: &mut Sigactions) -> Result {
    if request.flags != 0 {
        return Err(EINVAL);
    }
    Tracee::with(request.pidfd, |tracee| {
        tracee.read_sigactions(request);
        Ok(())
    })
}

/// The answer begins with zeros, whatever the caller's structure held.
pub(crate) fn thread(request: &mut Thread) -> Result {
    if request.flags != 0 {
        return Err(EINVAL);
    }
    *request = Thread {
        pidfd: request.pidfd,
        ..Thread::default()
    };
    Tracee::with(request.pidfd, |tracee| {
        tracee.read_thread(request);
        Ok(())
    })
}

/// As [`thread`].
pub(crate) fn process(request: &mut Process) -> Result {
    if request.flags != 0 {
        return Err(EINVAL);
    }
    *request = Process {
        pidfd: request.pidfd,
        ..Process::default()
    };
    Tracee::with(request.pidfd, |tracee| {
        tracee.read_process(request);
        Ok(())
    })
}
