// SPDX-License-Identifier: GPL-2.0

//! The resources that a process has used.

#![forbid(unsafe_code)]

use crate::uapi::Usage;
use kernel::{
    checkpoint::{
        self,
        Tracee, //
    },
    prelude::*, //
};

/// The answer begins with zeros, whatever the caller's structure held.
pub(crate) fn read(request: &mut Usage) -> Result {
    if request.flags != 0 {
        return Err(EINVAL);
    }
    *request = Usage {
        pidfd: request.pidfd,
        ..Usage::default()
    };
    checkpoint::read_usage(request.pidfd, request)
}

pub(crate) fn add(request: &Usage) -> Result {
    if request.flags != 0 {
        return Err(EINVAL);
    }
    Tracee::with(request.pidfd, |tracee| tracee.add_usage(request))
}
