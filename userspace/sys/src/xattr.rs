// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Extended attributes of an open file (`xattr(7)`), which `nix` lacks.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};

use crate::Result;
use crate::raw::errno;

/// The maximum length of a list, and of a value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const MOST: usize = 64 << 10;

/// Returns the names of the attributes, each with its terminating zero. The list is empty for a
/// file system without attributes.
///
/// # Errors
///
/// `EACCES`, `EPERM`.
pub fn names(file: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let mut list = vec![0; MOST];
    match flistxattr(file, &mut list[..]).map_err(errno) {
        Err(Errno::EOPNOTSUPP) => list.clear(),
        length => list.truncate(length?),
    }
    Ok(list)
}

/// Returns the value of an attribute, however long it is.
///
/// # Errors
///
/// `ENODATA` if there is no such attribute.
pub fn value(file: BorrowedFd<'_>, name: &CStr) -> Result<Vec<u8>> {
    let mut value = vec![0; MOST];
    let length = get(file, name, &mut value)?;
    value.truncate(length);
    Ok(value)
}

/// Reads an attribute into `value`; returns its length.
///
/// # Errors
///
/// `ENODATA` if there is no such attribute, `ERANGE` if `value` is too short, `EOPNOTSUPP`.
pub fn get(fd: BorrowedFd<'_>, name: &CStr, value: &mut [u8]) -> Result<usize> {
    fgetxattr(fd, name, value).map_err(errno)
}

/// Sets an attribute.
///
/// # Errors
///
/// `EPERM`, `EOPNOTSUPP`.
pub fn set(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<()> {
    fsetxattr(fd, name, value, XattrFlags::empty()).map_err(errno)
}

/// Removes an attribute.
///
/// # Errors
///
/// `ENODATA` if there is no such attribute, `EPERM`, `EOPNOTSUPP`.
pub fn remove(fd: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    fremovexattr(fd, name).map_err(errno)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_file_of_proc_has_none() {
        let file = File::open("/proc/self/status").unwrap();
        let mut value = [0; 8];
        // Without CAP_SYS_ADMIN, trusted attributes are not listed.
        let got = get(file.as_fd(), c"trusted.crust", &mut value);
        assert!(
            matches!(got, Err(Errno::EOPNOTSUPP | Errno::ENODATA)),
            "{got:?}"
        );
        assert!(set(file.as_fd(), c"trusted.crust", &value).is_err());
        assert!(remove(file.as_fd(), c"trusted.crust").is_err());
    }

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
