// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Contents of files and memory: which pages exist, and which files are copied into an image.

pub mod runs;

use std::fs::File;

use crust_image::Record;
use crust_model::Result;

pub use self::runs::Runs;

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
