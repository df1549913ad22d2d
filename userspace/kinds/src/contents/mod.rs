// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Contents of files and memory: which pages exist, and which files are copied into an image.

pub mod runs;

use std::fs::File;

use crust_image::Record;
use crust_model::Result;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

pub use self::runs::Runs;

/// Decodes the size of huge pages, as a power of two, or 0; others than there can be are damage.
///
/// # Errors
///
/// If there are no pages of that size.
pub fn huge_shift<'de, D: Deserializer<'de>>(from: D) -> Result<u8, D::Error> {
    /// No page is larger than the address space of a process.
    const LARGEST: u8 = 47;
    match u8::deserialize(from)? {
        shift @ 0..=LARGEST => Ok(shift),
        shift => Err(D::Error::custom(format!(
            "there are no pages of 2^{shift} bytes"
        ))),
    }
}

/// A file whose contents an image has to hold.
pub struct PageJob {
    pub(crate) file: File,
    pub(crate) runs: Runs,
    pub(crate) record: Box<dyn FnOnce(u64) -> Result<Record>>,
}

impl PageJob {
    /// Creates a job for pages of a file; `record` makes the record about them once their offset in the image is known.
    pub fn new(
        file: File,
        runs: Runs,
        record: impl FnOnce(u64) -> Result<Record> + 'static,
    ) -> Self {
        Self {
            file,
            runs,
            record: Box::new(record),
        }
    }

    /// Returns the record about the file if its pages begin at this offset of the image.
    ///
    /// # Errors
    ///
    /// If the record cannot be encoded.
    pub fn into_record(self, offset: u64) -> Result<Record> {
        (self.record)(offset)
    }
}
