// SPDX-License-Identifier: Apache-2.0 OR MIT

//! File systems that are not attached to the file hierarchy.

use std::os::fd::OwnedFd;

use linux_raw_sys::general::fsconfig_command::FSCONFIG_CMD_CREATE;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::Result;
use crate::raw::errno;

/// `FSCONFIG_CMD_CREATE`.
pub const CMD_CREATE: u32 = FSCONFIG_CMD_CREATE as u32;

/// Returns the root directory of a new, empty tmpfs, which ceases to exist with its last
/// descriptor.
pub fn tmpfs() -> Result<OwnedFd> {
    let config = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(errno)?;
    fsconfig_create(&config).map_err(errno)?;
    fsmount(
        &config,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .map_err(errno)
}
