// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The calls that read pages back from the image.

use std::ops::Range;

use crust_model::plan::{Call, Data, Stage, reserved};

use super::{Runs, SharedMemory, StoredPages};
use crate::memory::layout::Layout;
use crate::pathless::Contents;

// This was measured: if the pages are there before `preadv` copies into them, the page faults are
// saved, which is a quarter of the time. It is done in pieces, so that the pages are still in the
// cache. A few pages are not worth a call.
const BYTES: u64 = 2 << 20;
const WORTH_A_CALL: u64 = 64 << 10;
// `preadv` takes 1024 ranges, but their array has to lie in scratch memory.
const RANGES: usize = 256;

// linux/mman.h since 6.13; the libc crate lacks it.
const MADV_GUARD_INSTALL: i32 = 102;

impl StoredPages {
    /// Returns whether a page of `range` is in the image.
    #[must_use]
    pub fn touch(&self, range: &Range<u64>) -> bool {
        self.runs.touch(range) || self.inherited.touch(range)
    }

    /// Returns the calls that read those pages that are among `some`, or (if `within` is false) those that are not,
    /// from the image, which is open as this descriptor.
    #[must_use]
    pub fn fill_some(&self, some: &Runs, within: bool, image: i32) -> Vec<Call> {
        let mut calls = Vec::new();
        for (before, inside, runs) in self.runs.split(some.ranges()) {
            if inside == within {
                calls.extend(fill("pages", &runs, 0, self.offset + before, image));
            }
        }
        calls
    }

    /// Returns the calls that read those pages among `some` that the process holds for its
    /// children.
    #[must_use]
    pub fn fill_held(&self, some: &Runs, image: i32) -> Vec<Call> {
        let mut calls = Vec::new();
        for (before, inside, runs) in self.held_for_children.split(some.ranges()) {
            if inside {
                let what = "pages for children";
                calls.extend(fill(what, &runs, 0, self.held_at() + before, image));
            }
        }
        calls
    }

    /// Sets the guards.
    pub fn guard(&self, layout: &mut Layout<'_>) {
        for range in self.guards.ranges() {
            let call = Call::new(
                format!("memory {:x}-{:x}: guard", range.start, range.end),
                libc::SYS_madvise,
                [
                    range.start.into(),
                    (range.end - range.start).into(),
                    MADV_GUARD_INSTALL.into(),
                ],
            );
            layout.call(Stage::SealMemory, call);
        }
    }
}

impl SharedMemory {
    /// Reads the pages of an object that is mapped at `at`.
    pub fn fill(&self, at: &Range<u64>, layout: &mut Layout<'_>) {
        let image = layout.reserved(reserved::IMAGE);
        for call in fill("shared memory", &self.runs, at.start, self.offset, image) {
            layout.fill(call);
        }
    }
}

impl Contents {
    /// Reads the pages of an object that is mapped at `at`.
    pub fn fill(&self, what: &str, stage: Stage, at: u64, layout: &mut Layout<'_>) {
        let image = layout.reserved(reserved::IMAGE);
        for call in fill(what, &self.runs, at, self.offset, image) {
            layout.call(stage, call);
        }
    }
}

fn fill(what: &str, runs: &Runs, base: u64, offset: u64, image: i32) -> Vec<Call> {
    let mut calls = Vec::new();
    for (before, ranges) in runs.groups(RANGES, BYTES) {
        for range in &ranges {
            let length = range.end - range.start;
            if length >= WORTH_A_CALL {
                let call = Call::new(
                    format!("{what}: populate {} KiB", length >> 10),
                    libc::SYS_madvise,
                    [
                        base.wrapping_add(range.start).into(),
                        length.into(),
                        libc::MADV_POPULATE_WRITE.into(),
                    ],
                );
                // Linux before 5.14 does not know it; the restore works without it too.
                calls.push(call.may_fail());
            }
        }
        let words: Vec<u64> = ranges
            .iter()
            .flat_map(|range| [base.wrapping_add(range.start), range.end - range.start])
            .collect();
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let call = Call::new(
            format!("{what}: read {} KiB", bytes >> 10),
            libc::SYS_preadv,
            [
                image.into(),
                Data::words(&words).into(),
                (ranges.len() as u64).into(),
                (offset + before).into(),
                0.into(),
            ],
        );
        calls.push(call.must_return(bytes));
    }
    calls
}
