// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Which pages of a task are there: `PAGEMAP_SCAN` on `/proc/PID/pagemap` (Linux 6.7).

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Result;
use crate::device::request;
use crate::raw::syscall;

/// Categories of pages (`include/uapi/linux/fs.h`).
pub mod page_is {
    /// Write-protected asynchronously was not, or is written again.
    pub const WRITTEN: u64 = 1 << 1;
    /// Of a file, shared memory included.
    pub const FILE: u64 = 1 << 2;
    /// In memory.
    pub const PRESENT: u64 = 1 << 3;
    /// Swapped out.
    pub const SWAPPED: u64 = 1 << 4;
    /// The zero page, or another without a `struct page`.
    pub const PFNZERO: u64 = 1 << 5;
    /// A part of a huge page.
    pub const HUGE: u64 = 1 << 6;
    /// Written since the soft-dirty bits were cleared.
    pub const SOFT_DIRTY: u64 = 1 << 7;
    /// A guard region (`MADV_GUARD_INSTALL`; known to Linux 6.16).
    pub const GUARD: u64 = 1 << 8;
}

/// A run of pages of the same categories.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Its first address.
    pub start: u64,
    /// The address behind it.
    pub end: u64,
    /// Those of [`Query::report`] that hold.
    pub categories: u64,
}

/// Which pages are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Categories whose sense is turned round before they are looked at.
    pub inverted: u64,
    /// All of these must hold.
    pub all_of: u64,
    /// One of these must hold, unless it is 0.
    pub any_of: u64,
    /// What [`Region::categories`] is to tell.
    pub report: u64,
}

#[repr(C)]
#[derive(Default)]
struct Arg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// Finds runs of pages in `start..end` and puts them into `regions`; returns how many, and up to
/// where it came (`end`, unless `regions` is full).
///
/// # Errors
///
/// `ENOTTY` before Linux 6.7, `EINVAL` for a category that this kernel does not know.
pub fn scan(
    pagemap: BorrowedFd<'_>,
    start: u64,
    end: u64,
    query: Query,
    regions: &mut [Region],
) -> Result<(usize, u64)> {
    let mut arg = Arg {
        size: size_of::<Arg>() as u64,
        start,
        end,
        vec: regions.as_mut_ptr() as u64,
        vec_len: regions.len() as u64,
        category_inverted: query.inverted,
        category_mask: query.all_of,
        category_anyof_mask: query.any_of,
        return_mask: query.report,
        ..Arg::default()
    };
    let number = request(3, u32::from(b'f'), 16, size_of::<Arg>());
    // SAFETY: the request reads and writes `arg`, and writes at most `vec_len` regions to
    // `regions`, which is borrowed mutably.
    let found = unsafe { syscall!(libc::SYS_ioctl, pagemap.as_raw_fd(), number, &raw mut arg) }?;
    Ok((found as usize, arg.walk_end))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;
    use crate::buffer::Buffer;

    #[test]
    fn touched_pages_are_found() {
        let mut buffer = Buffer::new(16 * 4096).unwrap();
        buffer[3 * 4096] = 1;
        buffer[4 * 4096] = 1;
        buffer[9 * 4096] = 1;
        let start = buffer.as_ptr() as u64;
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        let query = Query {
            inverted: page_is::PFNZERO,
            all_of: page_is::PFNZERO,
            any_of: page_is::PRESENT | page_is::SWAPPED,
            report: page_is::PRESENT,
        };
        let mut regions = [Region::default(); 8];
        let end = start + buffer.len() as u64;
        let (count, walked) = scan(pagemap.as_fd(), start, end, query, &mut regions).unwrap();
        assert_eq!(walked, end);
        let pages: Vec<_> = regions[..count]
            .iter()
            .map(|region| ((region.start - start) / 4096, (region.end - start) / 4096))
            .collect();
        // A huge page, if the system gives one, is all there.
        assert!(
            pages == [(3, 5), (9, 10)] || pages == [(0, 16)],
            "{pages:?}"
        );
    }
}
