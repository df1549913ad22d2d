// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Reading and writing the memory of other tasks.

use std::io::{IoSlice, IoSliceMut};

use nix::errno::Errno;

use crate::raw::syscall;
use crate::{RemoteAddr, Result, word};

/// A range of addresses of another task, laid out as a `struct iovec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RemoteRange {
    /// The start of the range.
    pub start: RemoteAddr,
    /// The length in bytes.
    pub length: usize,
}

/// The maximum number of ranges for `process_vm_readv(2)` (`UIO_MAXIOV`).
pub const MAX_RANGES: usize = 1024;

/// Reads ranges of a task into buffers, one after the other; returns the number of bytes read,
/// which is less than requested only if a page does not exist.
///
/// # Errors
///
/// `EFAULT` if not even the first byte can be read, `ESRCH`, `EPERM`.
pub fn read_ranges(pid: i32, from: &[RemoteRange], into: &mut [IoSliceMut<'_>]) -> Result<usize> {
    // SAFETY: `IoSliceMut` has the layout of `struct iovec`, `RemoteRange` too; the kernel writes
    // within the local slices only, which are borrowed mutably.
    let got = unsafe {
        syscall!(
            libc::SYS_process_vm_readv,
            pid,
            into.as_mut_ptr(),
            into.len(),
            from.as_ptr(),
            from.len(),
            0
        )
    }?;
    Ok(word::to_size(got))
}

/// Fills `into` from the memory of a task.
///
/// # Errors
///
/// `EFAULT` if a part is not mapped or not readable, `ESRCH`, `EPERM`.
pub fn read(pid: i32, from: RemoteAddr, into: &mut [u8]) -> Result<()> {
    let mut done = 0;
    while done < into.len() {
        let rest = &mut into[done..];
        let range = RemoteRange {
            start: from.offset(done as u64),
            length: rest.len(),
        };
        match read_ranges(pid, &[range], &mut [IoSliceMut::new(rest)])? {
            0 => return Err(Errno::EFAULT),
            got => done += got,
        }
    }
    Ok(())
}

/// Writes bytes into memory that the task itself could write.
///
/// # Errors
///
/// `EFAULT` if a part is not mapped or not writable, `ESRCH`, `EPERM`.
pub fn write(pid: i32, to: RemoteAddr, bytes: &[u8]) -> Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let local = IoSlice::new(&bytes[done..]);
        let remote = RemoteRange {
            start: to.offset(done as u64),
            length: bytes.len() - done,
        };
        // SAFETY: `IoSlice` and `RemoteRange` have the layout of `struct iovec`; the kernel only
        // reads the local one.
        let put = unsafe {
            syscall!(
                libc::SYS_process_vm_writev,
                pid,
                &raw const local,
                1,
                &raw const remote,
                1,
                0
            )
        }?;
        match put {
            0 => return Err(Errno::EFAULT),
            put => done += word::to_size(put),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory() {
        let us = std::process::id() as i32;
        let mut there = *b"hello";
        let address = RemoteAddr(there.as_mut_ptr() as u64);
        let mut here = [0; 5];
        read(us, address, &mut here).unwrap();
        assert_eq!(&here, b"hello");
        assert_eq!(read(us, RemoteAddr(0), &mut here), Err(Errno::EFAULT));
        write(us, address, b"HELLO").unwrap();
        read(us, address, &mut here).unwrap();
        assert_eq!(&here, b"HELLO");
    }
}
