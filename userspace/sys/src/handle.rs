// SPDX-License-Identifier: Apache-2.0 OR MIT

//! File handles: names that the file system itself gives its files, whatever their paths are.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::Result;
use crate::raw::{owned, syscall};

/// A file as its file system names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileHandle {
    kind: i32,
    bytes: Vec<u8>,
}

/// `struct file_handle`, with room for the longest handle.
#[repr(C)]
struct Raw {
    length: u32,
    kind: i32,
    bytes: [u8; libc::MAX_HANDLE_SZ as usize],
}

impl FileHandle {
    /// Makes a handle of a type (`FILEID_*`); `None` if it is too long.
    #[must_use]
    pub fn new(kind: i32, bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.to_vec();
        (bytes.len() <= libc::MAX_HANDLE_SZ as usize).then_some(Self { kind, bytes })
    }

    /// Opens the file, which is in the same file system as `place` (`open_by_handle_at(2)`).
    ///
    /// # Errors
    ///
    /// `ESTALE` if the file system has no such file, or cannot find files by handle.
    pub fn open(&self, place: impl AsFd, flags: OFlag) -> Result<OwnedFd> {
        let mut raw = Raw {
            length: u32::try_from(self.bytes.len()).map_err(|_| Errno::EINVAL)?,
            kind: self.kind,
            bytes: [0; libc::MAX_HANDLE_SZ as usize],
        };
        raw.bytes[..self.bytes.len()].copy_from_slice(&self.bytes);
        let place = place.as_fd().as_raw_fd();
        // SAFETY: the kernel reads the header and as many bytes as that says, which exist; the call
        // returns a new descriptor.
        unsafe {
            syscall!(
                libc::SYS_open_by_handle_at,
                place,
                &raw const raw,
                flags.bits()
            )
            .map(|fd| owned(fd))
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::fcntl::AT_FDCWD;

    use super::*;

    #[test]
    fn a_handle_has_a_limit() {
        assert!(FileHandle::new(1, &[0; libc::MAX_HANDLE_SZ as usize]).is_some());
        assert_eq!(
            FileHandle::new(1, &[0; libc::MAX_HANDLE_SZ as usize + 1]),
            None
        );
    }

    #[test]
    fn no_file_has_an_empty_handle() {
        let handle = FileHandle::new(1, &[]).unwrap();
        let opened = handle.open(AT_FDCWD, OFlag::O_PATH | OFlag::O_CLOEXEC);
        assert!(matches!(opened, Err(Errno::EINVAL | Errno::EPERM)));
    }
}
