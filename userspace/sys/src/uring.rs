// SPDX-License-Identifier: Apache-2.0 OR MIT

//! io_urings: made, asked, mapped, and driven with requests that do nothing.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::raw::{owned, syscall};
use crate::{RemoteAddr, Result, memory};

/// Where the memory of a ring is in its file (`IORING_OFF_SQ_RING`); both rings are one piece.
pub const OFFSET_RINGS: u64 = 0;
/// The same memory once more (`IORING_OFF_CQ_RING`), for programs that do not know that it is one piece.
pub const OFFSET_COMPLETIONS: u64 = 0x800_0000;
/// Where the entries for requests are (`IORING_OFF_SQES`).
pub const OFFSET_ENTRIES: u64 = 0x1000_0000;

/// Bytes of an entry for a request (`struct io_uring_sqe`).
pub const ENTRY: usize = 64;
/// Bytes of a completion (`struct io_uring_cqe`).
pub const COMPLETION: usize = 16;

/// `IORING_SETUP_CQSIZE`: the caller says how many completions there is room for.
const CQSIZE: u32 = 1 << 3;

/// 32-bit words of a `struct io_uring_params`.
pub const PARAMS: usize = 30;

/// Where a kernel has the parts of a ring, in bytes from the beginning of its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// How many requests were taken, written by the kernel.
    pub sq_head: u32,
    /// How many were submitted, written by the program.
    pub sq_tail: u32,
    /// The number of entries less one.
    pub sq_mask: u32,
    /// What the kernel tells the program.
    pub sq_flags: u32,
    /// Which entries were submitted, by their numbers.
    pub array: u32,
    /// How many completions were read, written by the program.
    pub cq_head: u32,
    /// How many there were, written by the kernel.
    pub cq_tail: u32,
    /// The room for completions less one.
    pub cq_mask: u32,
    /// The completions.
    pub completions: u32,
}

/// A ring of our own.
#[derive(Debug)]
pub struct Made {
    /// It.
    pub ring: OwnedFd,
    /// Where it has what.
    pub places: Places,
}

/// What a ring of these sizes is asked for with, without any other wish (`struct io_uring_params`).
#[must_use]
pub fn params(completions: u32) -> [u32; PARAMS] {
    let mut params = [0; PARAMS];
    params[1] = completions;
    params[2] = CQSIZE;
    params
}

/// Makes a ring (`io_uring_setup(2)`).
///
/// # Errors
///
/// `EPERM` if `kernel.io_uring_disabled` forbids it; `EINVAL` for sizes that the kernel would not have
/// just so.
pub fn make(entries: u32, completions: u32) -> Result<Made> {
    let mut params = params(completions);
    // SAFETY: the kernel reads and writes the structure, which is as large as `struct io_uring_params`; what
    // is returned is a new descriptor.
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

/// Has the kernel take requests that were put into a ring; returns how many it took (`io_uring_enter(2)`).
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
    Ok(taken as u32)
}

/// What a ring answers to a wish that it always declines, and that changes nothing: to be restricted
/// (`IORING_REGISTER_RESTRICTIONS`). An enabled ring says `EBADFD`, a restricted one `EACCES`, one that was
/// made for a single thread `EEXIST`; one that is not enabled yet misses the list.
#[must_use]
pub fn ask_for_restrictions(ring: BorrowedFd<'_>) -> Errno {
    const RESTRICTIONS: u32 = 11;
    register(ring, RESTRICTIONS, None)
}

/// Whether a ring signals its completions by an eventfd: a second one is declined for that reason
/// (`EBUSY`), before it is found that -1 is none.
#[must_use]
pub fn has_eventfd(ring: BorrowedFd<'_>) -> bool {
    const EVENTFD: u32 = 4;
    register(ring, EVENTFD, Some(&-1)) == Errno::EBUSY
}

/// `io_uring_register(2)`, of which only the error is of interest.
fn register(ring: BorrowedFd<'_>, operation: u32, argument: Option<&i32>) -> Errno {
    let (argument, count) = match argument {
        Some(argument) => (std::ptr::from_ref(argument), 1_u32),
        None => (std::ptr::null(), 0),
    };
    // SAFETY: the kernel reads at most the one number that is said to be there.
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

/// A part of the file of a ring, mapped. The program and the kernel may have it too.
#[derive(Debug)]
pub struct Region {
    start: NonNull<u8>,
    length: usize,
}

impl Region {
    const PAGE: usize = 4096;

    /// Maps so many bytes from an offset.
    ///
    /// # Errors
    ///
    /// `EFAULT` or `EINVAL` if the file has less there, or must be mapped with more, `EINVAL` also if the memory
    /// is the program's own (`IORING_SETUP_NO_MMAP`).
    pub fn map(ring: BorrowedFd<'_>, offset: u64, length: usize) -> Result<Self> {
        let nowhere = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: a mapping at an address that the kernel chooses disturbs nothing.
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
        // The kernel maps less than was asked for without a word; to touch the rest would be our end.
        for page in (0..length).step_by(Self::PAGE) {
            let address = RemoteAddr(region.at(page) as u64);
            memory::read(std::process::id() as i32, address, &mut [0])?;
        }
        Ok(region)
    }

    fn at(&self, offset: usize) -> *mut u8 {
        self.start.as_ptr().wrapping_add(offset)
    }

    /// The number at an offset.
    fn word(&self, offset: u32) -> &AtomicU32 {
        let offset = offset as usize;
        assert!(offset % 4 == 0 && offset + 4 <= self.length, "{offset}");
        // SAFETY: it is within the mapping and aligned, as was just looked at; the kernel and other processes
        // access it as atomically as we.
        unsafe { AtomicU32::from_ptr(self.at(offset).cast()) }
    }

    /// Reads the number at an offset.
    ///
    /// # Panics
    ///
    /// If the region has none there.
    #[must_use]
    pub fn load(&self, offset: u32) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    /// Writes the number at an offset.
    ///
    /// # Panics
    ///
    /// If the region has none there.
    pub fn store(&self, offset: u32, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }

    /// A copy of all of it.
    ///
    /// # Errors
    ///
    /// None that is expected.
    pub fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.length];
        let address = RemoteAddr(self.start.as_ptr() as u64);
        memory::read(std::process::id() as i32, address, &mut bytes)?;
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
        memory::write(std::process::id() as i32, address, bytes)
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

    /// `None` where the kernel makes none.
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
