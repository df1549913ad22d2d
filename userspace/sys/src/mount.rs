// SPDX-License-Identifier: Apache-2.0 OR MIT

//! File systems that are not attached to the file hierarchy.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::Result;
use crate::raw::{owned, syscall};

/// `FSCONFIG_CMD_CREATE`.
pub const CMD_CREATE: u32 = 6;

/// Returns the root directory of a new, empty tmpfs, which ceases to exist with its last
/// descriptor.
pub fn tmpfs() -> Result<OwnedFd> {
    let nothing = std::ptr::null::<libc::c_char>();
    // SAFETY: the calls read a static string, and nothing else of our memory; the first and the
    // last return a new descriptor.
    unsafe {
        let config = owned(syscall!(libc::SYS_fsopen, c"tmpfs".as_ptr(), 1)?);
        let fd = config.as_raw_fd();
        syscall!(libc::SYS_fsconfig, fd, CMD_CREATE, nothing, nothing, 0)?;
        syscall!(libc::SYS_fsmount, fd, 1, 0).map(|fd| owned(fd))
    }
}
