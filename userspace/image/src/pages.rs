// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Page data: raw, page-aligned, found by its offset in the file.
//!
//! Which page of which mapping is where is said by the mappings' own records. What the format adds
//! is a checksum for each run of pages that the page writer summed up (`crust dump --checksum`). Restore
//! does not verify it, because that would read all memory a second time; `crust inspect --verify` does.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

/// The checksum of a run of page data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageSum {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// See [`checksum`].
    pub checksum: u64,
}

/// The tag of the record that has all [`PageSum`]s of an image.
pub(crate) const TAG: u16 = 0x0001;
/// The version of that record.
pub(crate) const VERSION: u16 = 1;

/// What a checksum of page data begins with.
pub(crate) const SEED: u64 = 0;

/// The checksum of page data: XXH64. A CRC is as fast where a processor has instructions for it, and takes
/// longer than all else where these are emulated.
#[must_use]
pub fn checksum(data: &[u8]) -> u64 {
    XxHash64::oneshot(SEED, data)
}
