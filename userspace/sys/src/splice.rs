// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Moving bytes between files and pipes within the kernel.

use std::os::fd::BorrowedFd;

use rustix::pipe::SpliceFlags;

use crate::Result;
use crate::raw::errno;

/// Copies up to `length` bytes from one pipe to another; they stay in the first (`tee(2)`). Does
/// not block, but returns `EAGAIN`.
pub fn tee(from: BorrowedFd<'_>, to: BorrowedFd<'_>, length: usize) -> Result<usize> {
    rustix::pipe::tee(from, to, length, SpliceFlags::NONBLOCK).map_err(errno)
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
