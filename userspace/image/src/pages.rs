// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Page data: raw, page-aligned, found by its offset in the file.
//!
//! Which page of which mapping is where is said by the mappings' own records. What the format adds
//! is a checksum for each run of pages that the page writer summed up. Restore does not verify it,
//! because that would read all memory a second time; `crust inspect --verify` does.

use serde::{Deserialize, Serialize};

/// The checksum of a run of page data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageSum {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// Its CRC-32, see [`checksum`].
    pub checksum: u32,
}

/// The tag of the record that has all [`PageSum`]s of an image.
pub(crate) const TAG: u16 = 0x0001;

/// The checksum of page data: CRC-32 as in zlib and Ethernet.
#[must_use]
pub fn checksum(data: &[u8]) -> u32 {
    crc32fast::hash(data)
}
