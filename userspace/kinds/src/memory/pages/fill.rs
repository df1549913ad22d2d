// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The steps that read pages back from the image.

use std::ops::Range;

use crust_model::plan::{Call, Fill, Stage};
use crust_sys::RemoteAddr;
use linux_raw_sys::general::MADV_GUARD_INSTALL;

use super::{Runs, SharedMemory, StoredPages};
use crate::memory::layout::Layout;
use crate::pathless::Contents;

impl StoredPages {
    /// Returns whether a page of `range` is in the image.
    #[must_use]
    pub fn touch(&self, range: &Range<u64>) -> bool {
        self.runs.touch(range) || self.inherited.touch(range)
    }

    /// Returns the steps that read those pages that are among `some`, or (if `within` is false) those that are not.
    #[must_use]
    pub fn fill_some(&self, some: &Runs, within: bool) -> Vec<Fill> {
        let pieces = self.runs.split(some.ranges()).into_iter();
        pieces
            .filter(|(_, inside, _)| *inside == within)
            .map(|(before, _, pages)| fill("pages", pages, self.offset + before))
            .collect()
    }

    /// Returns the steps that read those pages among `some` that the process holds for its
    /// children.
    #[must_use]
    pub fn fill_held(&self, some: &Runs) -> Vec<Fill> {
        let pieces = self.held_for_children.split(some.ranges()).into_iter();
        pieces
            .filter(|(_, inside, _)| *inside)
            .map(|(before, _, pages)| fill("pages for children", pages, self.held_at() + before))
            .collect()
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

/// Returns the step that reads private pages.
fn fill(label: &str, pages: Runs, offset: u64) -> Fill {
    Fill {
        label: label.into(),
        offset,
        base: RemoteAddr(0),
        pages,
    }
}

impl SharedMemory {
    /// Reads the pages of an object that is mapped at `at`.
    pub fn fill(&self, at: &Range<u64>, layout: &mut Layout<'_>) {
        let fill = Fill {
            label: "shared memory".into(),
            offset: self.offset,
            base: RemoteAddr(at.start),
            pages: self.runs.clone(),
        };
        layout.fill(Stage::FillMemory, fill);
    }
}

impl Contents {
    /// Reads the pages of an object that is mapped at `at`.
    pub fn fill(&self, label: &str, stage: Stage, at: u64, layout: &mut Layout<'_>) {
        let fill = Fill {
            label: label.into(),
            offset: self.offset,
            base: RemoteAddr(at),
            pages: self.runs.clone(),
        };
        layout.fill(stage, fill);
    }
}
