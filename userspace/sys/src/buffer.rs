// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Page-aligned buffers.

use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Memory that begins on a page boundary and is initially zero: it suits `O_DIRECT` and `vmsplice`,
/// and costs nothing until it is touched.
#[derive(Debug)]
pub struct Buffer {
    start: NonNull<libc::c_void>,
    length: NonZeroUsize,
}

// SAFETY: a `Buffer` is the only owner of its memory, like a `Vec<u8>`.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads, as with `Vec<u8>`.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Allocates a buffer of `length` bytes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` if `length` is 0.
    pub fn new(length: usize) -> nix::Result<Self> {
        let length = NonZeroUsize::new(length).ok_or(nix::errno::Errno::EINVAL)?;
        // SAFETY: an anonymous mapping at an address that the kernel chooses affects no other memory.
        let start = unsafe {
            mmap_anonymous(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_PRIVATE,
            )?
        };
        Ok(Self { start, length })
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is readable, initialised with zeros, this long, and ours while
        // `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.length.get()) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.length.get()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody can borrow from it any more.
        let _ = unsafe { munmap(self.start, self.length.get()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_zero() {
        let mut buffer = Buffer::new(10_000).unwrap();
        assert_eq!(buffer.as_ptr() as usize % 4096, 0);
        assert!(buffer.iter().all(|&byte| byte == 0));
        buffer[9_999] = 7;
        assert_eq!(buffer[9_999], 7);
    }
}
