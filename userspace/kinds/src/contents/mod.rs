// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Contents of files and memory: which pages exist, and which files are copied into an image.

use std::fs::File;

pub use crust_model::Runs;
use crust_model::image::Owned;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

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
    pub(crate) object: Box<dyn FnOnce(u64) -> Owned>,
}

impl PageJob {
    /// Creates a job for pages of a file; `object` completes the object that has them once their offset in the image is
    /// known.
    pub fn new(file: File, runs: Runs, object: impl FnOnce(u64) -> Owned + 'static) -> Self {
        Self {
            file,
            runs,
            object: Box::new(object),
        }
    }

    /// Returns the object that has the pages, if they begin at this offset of the image.
    #[must_use]
    pub fn into_object(self, offset: u64) -> Owned {
        (self.object)(offset)
    }
}
