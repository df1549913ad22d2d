// SPDX-License-Identifier: Apache-2.0 OR MIT

//! io_uring instances: created, queried, mapped, and driven with requests that do nothing.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use linux_raw_sys::io_uring::io_uring_register_op::{
    IORING_REGISTER_EVENTFD, IORING_REGISTER_RESTRICTIONS,
};
use linux_raw_sys::io_uring::{
    IORING_OFF_CQ_RING, IORING_OFF_SQ_RING, IORING_OFF_SQES, IORING_SETUP_CQSIZE,
};
use nix::errno::Errno;
use nix::unistd::getpid;
use serde::{Deserialize, Serialize};

use crate::raw::{owned, syscall};
use crate::{RemoteAddr, Result, memory, word};

/// The offset of the rings in the file (`IORING_OFF_SQ_RING`); both rings are in one mapping.
pub const OFFSET_RINGS: u64 = IORING_OFF_SQ_RING as u64;
/// The same memory once more (`IORING_OFF_CQ_RING`), for programs that do not know that it is one
/// mapping.
pub const OFFSET_COMPLETIONS: u64 = IORING_OFF_CQ_RING as u64;
/// The offset of the submission queue entries (`IORING_OFF_SQES`).
pub const OFFSET_ENTRIES: u64 = IORING_OFF_SQES as u64;

/// The size of a submission queue entry (`struct io_uring_sqe`) in bytes.
pub const ENTRY: usize = 64;
/// The size of a completion (`struct io_uring_cqe`) in bytes.
pub const COMPLETION: usize = 16;

/// The number of 32-bit words of a `struct io_uring_params`.
pub const PARAMS: usize = 30;

/// The offsets of the parts of a ring, in bytes from the start of its memory, as the kernel chose
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// The number of requests taken, written by the kernel.
    pub sq_head: u32,
    /// The number of requests submitted, written by the program.
    pub sq_tail: u32,
    /// The number of submission queue entries minus one.
    pub sq_mask: u32,
    /// Flags by which the kernel informs the program.
    pub sq_flags: u32,
    /// The indices of the submitted entries.
    pub array: u32,
    /// The number of completions read, written by the program.
    pub cq_head: u32,
    /// The number of completions made, written by the kernel.
    pub cq_tail: u32,
    /// The size of the completion queue minus one.
    pub cq_mask: u32,
    /// The completions.
    pub completions: u32,
}

/// A ring that crust has created.
#[derive(Debug)]
pub struct Made {
    /// The descriptor of the ring.
    pub ring: OwnedFd,
    /// The offsets of its parts.
    pub places: Places,
}

/// Returns the parameters of a ring with this many completions, and no other options (`struct
/// io_uring_params`).
#[must_use]
pub fn params(completions: u32) -> [u32; PARAMS] {
    let mut params = [0; PARAMS];
    params[1] = completions;
    params[2] = IORING_SETUP_CQSIZE;
    params
}

/// Creates a ring (`io_uring_setup(2)`).
///
/// # Errors
///
/// `EPERM` if `kernel.io_uring_disabled` forbids it; `EINVAL` for sizes that the kernel would
/// round.
pub fn make(entries: u32, completions: u32) -> Result<Made> {
    let mut params = params(completions);
    // SAFETY: the kernel reads and writes the structure, which has the size of `struct
    // io_uring_params`; the call returns a new descriptor.
    let ring = unsafe {
        syscall!(libc::SYS_io_uring_setup, entries, params.as_mut_ptr()).map(|fd| owned(fd))
    }?;
    if params[..2] != [entries, completions] {
        return Err(Errno::EINVAL);
    }
    // struct io_sqring_offsets begins at word 10, struct io_cqring_offsets at word 20.
    let places = Places {
        sq_head: params[10],
        sq_tail: params[11],
        sq_mask: params[12],
        sq_flags: params[14],
        array: params[16],
        cq_head: params[20],
        cq_tail: params[21],
        cq_mask: params[22],
        completions: params[25],
    };
    Ok(Made { ring, places })
}

/// Makes the kernel take requests that were put into a ring; returns how many it took
/// (`io_uring_enter(2)`).
///
/// # Errors
///
/// `EBADFD` if the ring is disabled, `EBUSY` if completions were not read, `EEXIST` if only another
/// thread may submit.
pub fn submit(ring: BorrowedFd<'_>, count: u32) -> Result<u32> {
    let nothing = std::ptr::null::<libc::c_void>();
    // SAFETY: without IORING_ENTER_GETEVENTS the kernel reads none of our memory but the ring itself.
    let taken = unsafe {
        syscall!(
            libc::SYS_io_uring_enter,
            ring.as_raw_fd(),
            count,
            0_u32,
            0_u32,
            nothing,
            0_usize
        )
    }?;
    Ok(word::to_uint(taken))
}

/// Returns the ring's error for a request that always fails and changes nothing: to be restricted
/// (`IORING_REGISTER_RESTRICTIONS`). An enabled ring returns `EBADFD`, a restricted one `EACCES`,
/// one that was created for a single thread `EEXIST`; one that is not enabled yet complains about
/// the missing list.
#[must_use]
pub fn ask_for_restrictions(ring: BorrowedFd<'_>) -> Errno {
    register(ring, IORING_REGISTER_RESTRICTIONS as u32, None)
}

/// Returns whether a ring signals its completions through an eventfd: registering a second one
/// fails for that reason (`EBUSY`), before the kernel finds that -1 is not a descriptor.
#[must_use]
pub fn has_eventfd(ring: BorrowedFd<'_>) -> bool {
    register(ring, IORING_REGISTER_EVENTFD as u32, Some(&-1)) == Errno::EBUSY
}

/// Calls `io_uring_register(2)` and returns the error, which is all that matters here.
fn register(ring: BorrowedFd<'_>, operation: u32, argument: Option<&i32>) -> Errno {
    let (argument, count) = match argument {
        Some(argument) => (std::ptr::from_ref(argument), 1_u32),
        None => (std::ptr::null(), 0),
    };
    // SAFETY: the kernel reads at most `count` integers, which exist.
    let done = unsafe {
        syscall!(
            libc::SYS_io_uring_register,
            ring.as_raw_fd(),
            operation,
            argument,
            count
        )
    };
    done.err().unwrap_or(Errno::from_raw(0))
}

/// A mapped part of the file of a ring. The program and the kernel may access it too.
#[derive(Debug)]
pub struct Region {
    start: NonNull<u8>,
    length: usize,
}

impl Region {
    const PAGE: usize = 4096;

    /// Maps `length` bytes from an offset.
    ///
    /// # Errors
    ///
    /// `EFAULT` or `EINVAL` if the file is shorter there, or must be mapped with more bytes;
    /// `EINVAL` also if the memory is the program's own (`IORING_SETUP_NO_MMAP`).
    pub fn map(ring: BorrowedFd<'_>, offset: u64, length: usize) -> Result<Self> {
        let nowhere = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: a mapping at an address that the kernel chooses affects no other memory.
        let start = unsafe {
            syscall!(
                libc::SYS_mmap,
                nowhere,
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                ring.as_raw_fd(),
                offset
            )
        }?;
        let start = NonNull::new(start as *mut u8).ok_or(Errno::EFAULT)?;
        let region = Self { start, length };
        // The kernel silently maps less than was requested; touching the rest would kill us.
        for page in (0..length).step_by(Self::PAGE) {
            let address = RemoteAddr(region.at(page) as u64);
            memory::read(getpid().as_raw(), address, &mut [0])?;
        }
        Ok(region)
    }

    fn at(&self, offset: usize) -> *mut u8 {
        self.start.as_ptr().wrapping_add(offset)
    }

    /// Returns the integer at an offset.
    fn word(&self, offset: u32) -> &AtomicU32 {
        let offset = offset as usize;
        assert!(offset % 4 == 0 && offset + 4 <= self.length, "{offset}");
        // SAFETY: the address is within the mapping and aligned, as has just been checked; the kernel
        // and other processes access it atomically, as we do.
        unsafe { AtomicU32::from_ptr(self.at(offset).cast()) }
    }

    /// Reads the integer at an offset.
    ///
    /// # Panics
    ///
    /// Panics if the region has none there.
    #[must_use]
    pub fn load(&self, offset: u32) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    /// Writes the integer at an offset.
    ///
    /// # Panics
    ///
    /// Panics if the region has none there.
    pub fn store(&self, offset: u32, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }

    /// Returns a copy of the whole region.
    ///
    /// # Errors
    ///
    /// None are expected.
    pub fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.length];
        let address = RemoteAddr(self.start.as_ptr() as u64);
        memory::read(getpid().as_raw(), address, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes bytes at an offset.
    ///
    /// # Errors
    ///
    /// `EFAULT` if they do not fit.
    pub fn write(&self, offset: u32, bytes: &[u8]) -> Result<()> {
        let offset = offset as usize;
        let end = offset.checked_add(bytes.len());
        if end.is_none_or(|end| end > self.length) {
            return Err(Errno::EFAULT);
        }
        let address = RemoteAddr(self.at(offset) as u64);
        memory::write(getpid().as_raw(), address, bytes)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody can borrow from it any more.
        let _ = unsafe { syscall!(libc::SYS_munmap, self.start.as_ptr(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    /// Returns `None` where the kernel does not create any.
    fn ring() -> Option<(Made, Region)> {
        let made = match make(64, 128) {
            Err(Errno::EPERM | Errno::ENOSYS) => return None,
            made => made.unwrap(),
        };
        let length = made.places.array as usize + 64 * 4;
        let region = Region::map(made.ring.as_fd(), OFFSET_RINGS, length).unwrap();
        Some((made, region))
    }

    #[test]
    fn a_request_that_does_nothing_is_taken_and_completed() {
        let Some((made, region)) = ring() else { return };
        let places = made.places;
        assert_eq!(region.load(places.sq_mask), 63);
        assert_eq!(region.load(places.cq_mask), 127);
        // The entries are zeros, which is a request to do nothing.
        region.store(places.sq_tail, 3);
        assert_eq!(submit(made.ring.as_fd(), 3), Ok(3));
        assert_eq!(region.load(places.sq_head), 3);
        assert_eq!(region.load(places.cq_tail), 3);
        assert_eq!(region.read().unwrap()[places.cq_tail as usize], 3);
    }

    #[test]
    fn a_part_that_is_not_there_is_not_mapped() {
        let Some((made, _)) = ring() else { return };
        let ring = made.ring.as_fd();
        assert!(Region::map(ring, OFFSET_RINGS, 1 << 20).is_err());
        assert!(Region::map(ring, OFFSET_ENTRIES, 64 * ENTRY).is_ok());
        assert!(Region::map(ring, OFFSET_ENTRIES, 64 * ENTRY + 4096).is_err());
    }

    #[test]
    fn a_plain_ring_says_so() {
        let Some((made, region)) = ring() else { return };
        assert_eq!(ask_for_restrictions(made.ring.as_fd()), Errno::EBADFD);
        assert!(!has_eventfd(made.ring.as_fd()));
        assert_eq!(region.write(region.length as u32, &[1]), Err(Errno::EFAULT));
    }

    #[test]
    fn an_eventfd_is_found() {
        let Some((made, _)) = ring() else { return };
        let eventfd = nix::sys::eventfd::EventFd::new().unwrap();
        let number = eventfd.as_raw_fd();
        assert_eq!(
            register(made.ring.as_fd(), 4, Some(&number)),
            Errno::from_raw(0)
        );
        assert!(has_eventfd(made.ring.as_fd()));
    }
}
