// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `PAGEMAP_SCAN`: finds which pages of a task's memory exist (Linux 6.7,
//! `Documentation/admin-guide/mm/pagemap.rst`).
//!
//! It walks page tables only where there are any: a terabyte that is reserved and not touched costs
//! nothing, whereas reading `/proc/PID/pagemap` would cost two gigabytes.

use std::os::fd::{AsFd, AsRawFd};

use linux_raw_sys::general::pm_scan_arg;
use nix::errno::Errno;

use crate::RemoteAddr;

/// Categories of pages (`PAGE_IS_*` in `linux/fs.h`).
pub mod category {
    use linux_raw_sys::general as raw;

    /// Backed by a file or by shared memory, not anonymous.
    pub const FILE: u64 = raw::PAGE_IS_FILE as u64;
    /// In memory.
    pub const PRESENT: u64 = raw::PAGE_IS_PRESENT as u64;
    /// In swap; also set for pages that are not present for another reason, such as guards.
    pub const SWAPPED: u64 = raw::PAGE_IS_SWAPPED as u64;
    /// The shared zero page.
    pub const PFNZERO: u64 = raw::PAGE_IS_PFNZERO as u64;
    /// A guard (`MADV_GUARD_INSTALL`); kernels before 6.15 do not know this category.
    pub const GUARD: u64 = raw::PAGE_IS_GUARD as u64;
}

/// Adjacent pages of the same categories (`struct page_region`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageRegion {
    /// The first byte.
    pub start: u64,
    /// The byte after the last.
    pub end: u64,
    /// The categories of [`Query::report`] that hold.
    pub categories: u64,
}

/// A selection of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// All of these must hold.
    pub all_of: u64,
    /// One of these must hold.
    pub any_of: u64,
    /// None of these may hold.
    pub none_of: u64,
    /// The categories reported in the answer.
    pub report: u64,
}

// _IOWR('f', 16, struct pm_scan_arg)
const PAGEMAP_SCAN: libc::Ioctl =
    (3 << 30 | (size_of::<pm_scan_arg>() as u64) << 16 | (b'f' as u64) << 8 | 16) as libc::Ioctl;

/// Finds pages between `start` and `end` (bytes, multiples of the page size), in the order of their
/// addresses. Returns how many regions it wrote to `regions`, and where it stopped: at `end`, or
/// where `regions` was full.
///
/// `pagemap` is `/proc/PID/pagemap`, opened for reading.
///
/// # Errors
///
/// `ENOTTY` on kernels before 6.7, `EINVAL` if a category is not known, `ESRCH` if the process is
/// gone.
pub fn scan(
    pagemap: impl AsFd,
    start: RemoteAddr,
    end: RemoteAddr,
    query: &Query,
    regions: &mut [PageRegion],
) -> nix::Result<(usize, RemoteAddr)> {
    let mut arg = pm_scan_arg {
        size: size_of::<pm_scan_arg>() as u64,
        flags: 0,
        start: start.0,
        end: end.0,
        walk_end: 0,
        vec: regions.as_mut_ptr() as u64,
        vec_len: regions.len() as u64,
        max_pages: 0,
        // An inverted category is compared with 0 instead of 1.
        category_inverted: query.none_of,
        category_mask: query.all_of | query.none_of,
        category_anyof_mask: query.any_of,
        return_mask: query.report,
    };
    // SAFETY: `arg` is the structure that the request takes, with its size, and lives until the
    // call returns; the kernel writes at most `vec_len` regions to `vec`, which has that length,
    // and any bytes make a valid `PageRegion`.
    let found = unsafe { libc::ioctl(pagemap.as_fd().as_raw_fd(), PAGEMAP_SCAN, &raw mut arg) };
    let found = usize::try_from(Errno::result(found)?).map_err(|_| Errno::EOVERFLOW)?;
    // The kernel collects regions in a buffer of its own, of 512. When that is full it records how
    // far it has got, and does not record it again when it then reaches the end
    // (fs/proc/task_mmu.c:do_pagemap_scan).
    let last = regions[..found].last().map_or(0, |region| region.end);
    Ok((found, RemoteAddr(arg.walk_end.max(last))))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// Scans the memory of the test itself.
    #[test]
    fn finds_the_pages_that_were_touched() {
        const PAGE: u64 = 4096;
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        // Large enough that the allocator maps it, and does not touch it.
        let mut memory: Vec<u8> = Vec::with_capacity(64 << 20);
        let start = (memory.as_ptr() as u64).next_multiple_of(2 << 20);
        let first = (start - memory.as_ptr() as u64) as usize;
        memory.spare_capacity_mut()[first + 5 * 4096].write(1);
        memory.spare_capacity_mut()[first + 6 * 4096].write(1);
        memory.spare_capacity_mut()[first + (32 << 20)].write(1);
        let query = Query {
            any_of: category::PRESENT | category::SWAPPED,
            none_of: category::PFNZERO,
            ..Query::default()
        };
        let mut regions = [PageRegion::default(); 8];
        let end = RemoteAddr(start + (48 << 20));
        let scanned = scan(&pagemap, RemoteAddr(start), end, &query, &mut regions);
        let (found, stop) = match scanned {
            // A kernel before 6.7.
            Err(Errno::ENOTTY) => return,
            result => result.unwrap(),
        };
        assert_eq!(stop, end);
        let holds = |page: u64| {
            let at = start + page * PAGE;
            regions[..found]
                .iter()
                .any(|region| region.start <= at && at < region.end)
        };
        // With huge pages there are more.
        assert!(holds(5) && holds(6) && holds((32 << 20) / PAGE));
        assert!(!holds((24 << 20) / PAGE));
    }

    /// Scans more regions than the kernel collects at once.
    #[test]
    fn stops_behind_all_that_it_found() {
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        let mut memory: Vec<u8> = Vec::with_capacity(16 << 20);
        let start = (memory.as_ptr() as u64).next_multiple_of(4096);
        let first = (start - memory.as_ptr() as u64) as usize;
        for page in (0..1200).step_by(2) {
            memory.spare_capacity_mut()[first + page * 4096].write(1);
        }
        let query = Query {
            any_of: category::PRESENT | category::SWAPPED,
            none_of: category::PFNZERO,
            ..Query::default()
        };
        let end = RemoteAddr(start + (15 << 20));
        for room in [100, 512, 600, 4096] {
            let mut regions = vec![PageRegion::default(); room];
            let mut from = RemoteAddr(start);
            let mut last = start;
            while from < end {
                let scanned = scan(&pagemap, from, end, &query, &mut regions);
                let (found, stop) = match scanned {
                    // A kernel before 6.7.
                    Err(Errno::ENOTTY) => return,
                    result => result.unwrap(),
                };
                for region in &regions[..found] {
                    assert!(last <= region.start, "{room}: {region:x?} again");
                    last = region.end;
                }
                assert!(stop > from);
                from = stop;
            }
        }
    }
}
