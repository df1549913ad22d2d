// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Contents of the image that a restored task reads into its memory.

use std::ops::Range;

use crust_sys::RemoteAddr;

use crate::Runs;

/// Pages of the image, and where a task reads them to. The executor chooses the system calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fill {
    /// The object that the pages belong to, for the plan and for errors, as in `shared memory`.
    pub label: String,
    /// The offset of the first page in the image; the others follow without a gap.
    pub offset: u64,
    /// The address in the task to which `pages` are relative.
    pub base: RemoteAddr,
    /// The ranges that are filled, in the order of their pages in the image.
    pub pages: Runs,
}

impl Fill {
    /// Describes the step, for example as `shared memory: read 40 KiB`.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{}: read {} KiB", self.label, self.pages.bytes() >> 10)
    }

    /// Returns the address and the length in bytes of a range of `pages`.
    #[must_use]
    pub fn place(&self, range: &Range<u64>) -> (RemoteAddr, u64) {
        (self.base.offset(range.start), range.end - range.start)
    }
}
