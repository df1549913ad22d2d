// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Extended attributes of open files.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Result;
use crate::raw::syscall;

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

    use nix::errno::Errno;

    use super::*;

    #[test]
    fn a_file_of_proc_has_none() {
        let file = File::open("/proc/self/status").unwrap();
        let mut value = [0; 8];
        assert_eq!(
            get(file.as_fd(), c"trusted.crust", &mut value),
            Err(Errno::EOPNOTSUPP)
        );
        assert!(set(file.as_fd(), c"trusted.crust", &value).is_err());
        assert!(remove(file.as_fd(), c"trusted.crust").is_err());
    }
}
