// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Extended attributes of an open file (`xattr(7)`), which `nix` lacks.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use crate::Result;
use crate::raw::syscall;

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
    // SAFETY: `name` ends with a zero; the kernel writes at most as many bytes as `value` has.
    let length = unsafe {
        syscall!(
            libc::SYS_fgetxattr,
            fd.as_raw_fd(),
            name.as_ptr(),
            value.as_mut_ptr(),
            value.len()
        )
    }?;
    Ok(length as usize)
}

/// Sets an attribute.
///
/// # Errors
///
/// `EPERM`, `EOPNOTSUPP`.
pub fn set(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<()> {
    // SAFETY: `name` ends with a zero; the kernel reads as many bytes as `value` has.
    unsafe {
        syscall!(
            libc::SYS_fsetxattr,
            fd.as_raw_fd(),
            name.as_ptr(),
            value.as_ptr(),
            value.len(),
            0
        )
    }?;
    Ok(())
}

/// Removes an attribute.
///
/// # Errors
///
/// `ENODATA` if there is no such attribute, `EPERM`, `EOPNOTSUPP`.
pub fn remove(fd: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: `name` ends with a zero.
    unsafe { syscall!(libc::SYS_fremovexattr, fd.as_raw_fd(), name.as_ptr()) }?;
    Ok(())
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
