// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Reading contents of the image: the system calls into which a [`Fill`] is divided.
//!
//! The task reads the pages itself: straight from the page cache into its memory, many ranges with
//! one `preadv`.

use std::ops::Range;

use crust_model::plan::{Call, Data, Fill, scratch};
use crust_tracee::batch::layout;

// This was measured: if the pages are there before `preadv` copies into them, the page faults are
// saved, which is a quarter of the time. It is done in pieces, so that the pages are still in the
// cache. A few pages are not worth a call.
const BYTES: u64 = 2 << 20;
const WORTH_A_CALL: u64 = 64 << 10;

/// The maximum number of ranges that one call reads. `preadv` takes `UIO_MAXIOV` (1024, linux/uio.h),
/// but their array has to lie in scratch memory.
const RANGES: usize = 256;

/// The size of a `struct iovec` in bytes.
const IOVEC: u64 = 16;

const _: () = assert!(RANGES as u64 * IOVEC < scratch::SIZE - layout::BATCHES);

/// Returns the calls that read contents from the image, which is open as the descriptor `image`.
/// They do not depend on each other.
pub(super) fn calls(fill: &Fill, image: i32) -> Vec<Call> {
    let mut calls = Vec::new();
    for (before, ranges) in fill.pages.groups(RANGES, BYTES) {
        let large = ranges.iter().filter(|range| is_worth_a_call(range));
        calls.extend(large.map(|range| populate(fill, range)));
        calls.push(read(fill, &ranges, fill.offset + before, image));
    }
    calls
}

/// Returns the number of calls that read contents.
pub(super) fn count(fill: &Fill) -> usize {
    let groups = fill.pages.groups(RANGES, BYTES);
    groups
        .map(|(_, ranges)| 1 + ranges.iter().filter(|range| is_worth_a_call(range)).count())
        .sum()
}

fn is_worth_a_call(range: &Range<u64>) -> bool {
    range.end - range.start >= WORTH_A_CALL
}

/// Returns the call that allocates the pages of a range.
fn populate(fill: &Fill, range: &Range<u64>) -> Call {
    let (address, length) = fill.place(range);
    let call = Call::new(
        format!("{}: populate {} KiB", fill.label, length >> 10),
        libc::SYS_madvise,
        [
            address.into(),
            length.into(),
            libc::MADV_POPULATE_WRITE.into(),
        ],
    );
    // Linux before 5.14 does not know it; the restore works without it too.
    call.may_fail()
}

/// Returns the call that reads some ranges from `offset` of the image on.
fn read(fill: &Fill, ranges: &[Range<u64>], offset: u64, image: i32) -> Call {
    let places = ranges.iter().map(|range| fill.place(range));
    let iovecs: Vec<u64> = places
        .flat_map(|(address, length)| [address.0, length])
        .collect();
    let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    let call = Call::new(
        format!("{}: read {} KiB", fill.label, bytes >> 10),
        libc::SYS_preadv,
        [
            image.into(),
            Data::words(&iovecs).into(),
            (ranges.len() as u64).into(),
            offset.into(),
            0.into(),
        ],
    );
    call.must_return(bytes)
}

#[cfg(test)]
mod tests {
    use crust_model::Runs;
    use crust_sys::RemoteAddr;
    use crust_tracee::batch;

    use super::*;

    const PAGE: u64 = 4096;

    fn fill(ranges: impl IntoIterator<Item = Range<u64>>) -> Fill {
        let mut pages = Runs::default();
        for range in ranges {
            pages.push(range);
        }
        Fill {
            label: "pages".into(),
            offset: 0x10_0000,
            base: RemoteAddr(0x7000_0000),
            pages,
        }
    }

    fn labels(calls: &[Call]) -> Vec<&str> {
        calls.iter().map(|call| &*call.label).collect()
    }

    #[test]
    fn a_few_pages_are_one_call() {
        let fill = fill([PAGE..2 * PAGE, 5 * PAGE..7 * PAGE]);
        let calls = calls(&fill, 40);
        assert_eq!(labels(&calls), ["pages: read 12 KiB"]);
        let iovecs = [0x7000_1000, PAGE, 0x7000_5000, 2 * PAGE];
        let args = [
            40.into(),
            Data::words(&iovecs).into(),
            2.into(),
            0x10_0000.into(),
            0.into(),
        ];
        assert_eq!(calls[0].args, args);
    }

    #[test]
    fn a_large_range_is_read_in_pieces_that_are_populated() {
        let fill = fill(std::iter::once(0..3 << 20));
        let calls = calls(&fill, 40);
        assert_eq!(
            labels(&calls),
            [
                "pages: populate 2048 KiB",
                "pages: read 2048 KiB",
                "pages: populate 1024 KiB",
                "pages: read 1024 KiB",
            ]
        );
        assert_eq!(calls[3].args[3], (0x10_0000 + (2_u64 << 20)).into());
        assert_eq!(count(&fill), 4);
    }

    #[test]
    fn many_ranges_are_read_by_calls_that_fit_into_scratch_memory() {
        let fill = fill((0..1000).map(|page| 2 * page * PAGE..(2 * page + 1) * PAGE));
        let calls = calls(&fill, 40);
        assert_eq!((calls.len(), count(&fill)), (4, 4));
        let room = (scratch::SIZE - layout::BATCHES) as usize;
        assert!(calls.iter().all(|call| batch::size(call) <= room));
    }
}
