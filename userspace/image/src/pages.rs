// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Page data: raw, page-aligned, found by its offset in the file.
//!
//! The records of the mappings say where each of their pages is. The format adds a checksum for
//! each run of pages for which the page writer computed one (`crust dump --checksum`). Restore does
//! not verify it, because that would read all memory a second time; `crust inspect --verify` does.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

/// The checksum of a run of page data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageSum {
    /// The offset in the file, in bytes.
    pub offset: u64,
    /// The length in bytes.
    pub length: u64,
    /// The result of [`checksum`].
    pub checksum: u64,
}

/// The tag of the record that holds all [`PageSum`]s of an image.
pub(crate) const TAG: u16 = 0x0001;
/// The version of that record.
pub(crate) const VERSION: u16 = 1;

/// The seed of the checksums of page data.
pub(crate) const SEED: u64 = 0;

/// Returns the checksum of page data: XXH64. A CRC is as fast on a processor with instructions for
/// it, but takes longer than everything else where these are emulated.
#[must_use]
pub fn checksum(data: &[u8]) -> u64 {
    XxHash64::oneshot(SEED, data)
}
