// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Moving bytes between files and pipes within the kernel.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Result;
use crate::raw::syscall;

/// Copies up to `length` bytes from one pipe to another; they stay in the first (`tee(2)`). Does
/// not block, but returns `EAGAIN`.
pub fn tee(from: BorrowedFd<'_>, to: BorrowedFd<'_>, length: usize) -> Result<usize> {
    // SAFETY: the call takes numbers only.
    unsafe {
        syscall!(
            libc::SYS_tee,
            from.as_raw_fd(),
            to.as_raw_fd(),
            length,
            libc::SPLICE_F_NONBLOCK
        )
    }
    .map(|bytes| bytes as usize)
}

/// Moves up to `length` bytes from or to a pipe; `offset` is the offset in `to` if that is a file
/// (`splice(2)`).
pub fn splice(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    offset: Option<u64>,
    length: usize,
) -> Result<usize> {
    let mut place = offset.unwrap_or_default();
    let pointer = match offset {
        Some(_) => &raw mut place,
        None => std::ptr::null_mut(),
    };
    // SAFETY: the offset is null or points to a u64 that lives through the call.
    unsafe {
        syscall!(
            libc::SYS_splice,
            from.as_raw_fd(),
            std::ptr::null_mut::<u64>(),
            to.as_raw_fd(),
            pointer,
            length,
            0
        )
    }
    .map(|bytes| bytes as usize)
}

/// Copies between two files at the given offsets (`copy_file_range(2)`); returns 0 at the end of
/// `from`.
pub fn copy_file_range(
    from: BorrowedFd<'_>,
    mut from_offset: u64,
    to: BorrowedFd<'_>,
    mut to_offset: u64,
    length: usize,
) -> Result<usize> {
    // SAFETY: both offsets live through the call.
    unsafe {
        syscall!(
            libc::SYS_copy_file_range,
            from.as_raw_fd(),
            &raw mut from_offset,
            to.as_raw_fd(),
            &raw mut to_offset,
            length,
            0
        )
    }
    .map(|bytes| bytes as usize)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::unistd::{pipe, read, write};

    use super::*;

    #[test]
    fn tee_leaves_what_it_copies() {
        let (from_read, from_write) = pipe().unwrap();
        let (to_read, to_write) = pipe().unwrap();
        write(&from_write, b"abc").unwrap();
        assert_eq!(tee(from_read.as_fd(), to_write.as_fd(), 100), Ok(3));
        let mut bytes = [0; 8];
        for end in [from_read, to_read] {
            assert_eq!(read(&end, &mut bytes), Ok(3));
            assert_eq!(&bytes[..3], b"abc");
        }
    }
}
