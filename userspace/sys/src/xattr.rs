// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Extended attributes of an open file (`xattr(7)`), which `nix` lacks.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use crate::Result;
use crate::raw::syscall;

/// No list, and no value, is longer (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const MOST: usize = 64 << 10;

/// The names of the attributes, each with the zero that ends it. Of a file system that has none, there are
/// none.
///
/// # Errors
///
/// `EACCES`, `EPERM`.
pub fn names(file: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let mut list = vec![0; MOST];
    // SAFETY: the kernel writes at most as many bytes as `list` has.
    let length = unsafe {
        syscall!(
            libc::SYS_flistxattr,
            file.as_raw_fd(),
            list.as_mut_ptr(),
            list.len()
        )
    };
    match length {
        Err(Errno::EOPNOTSUPP) => list.clear(),
        length => list.truncate(length? as usize),
    }
    Ok(list)
}

/// The value of an attribute.
///
/// # Errors
///
/// `ENODATA` if there is none of this name.
pub fn value(file: BorrowedFd<'_>, name: &CStr) -> Result<Vec<u8>> {
    let mut value = vec![0; MOST];
    // SAFETY: `name` ends with a zero, and the kernel writes at most as many bytes as `value` has.
    let length = unsafe {
        syscall!(
            libc::SYS_fgetxattr,
            file.as_raw_fd(),
            name.as_ptr(),
            value.as_mut_ptr(),
            value.len()
        )
    }?;
    value.truncate(length as usize);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_not_there() {
        let file = File::open("/proc/self/status").unwrap();
        assert!(value(file.as_fd(), c"user.none").is_err());
        assert!(
            names(file.as_fd())
                .unwrap()
                .last()
                .is_none_or(|byte| *byte == 0)
        );
    }
}
