// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The image of a process tree: one file that is complete or absent.
//!
//! ```text
//!  0          header     one page: magic, format version, where the rest is, checksum
//!  page size  pages      raw memory contents, page-aligned, in the order of reservation
//!  ...        records    frames of {tag, version, owner, part, length, checksum} and an encoded state
//! ```
//!
//! The records come last because they are known last, and the header says where they are: whoever
//! only looks at an image reads one page and the records. `docs/format.md` is the whole story.
//!
//! An image can also be sent through a pipe: as the same bytes, from and into a [temporary file](scratch).
//!
//! This crate knows nothing of processes. A dump uses [`Writer`], everything else [`Reader`]; the
//! state of one kind of object goes through [`codec`] into the body of a [`Record`].

#![forbid(unsafe_code)]

pub mod codec;
pub mod error;
mod frame;
mod header;
pub mod pages;
mod reader;
pub mod record;
pub mod scratch;
mod writer;

pub use error::{Error, Result};
pub use header::{FORMAT_MAJOR, FORMAT_MINOR, MACHINE, PAGE_SIZE};
pub use pages::PageSum;
pub use reader::Reader;
pub use record::Record;
pub use writer::{Finished, Writer};

/// The most bytes that the state of one object may take.
///
/// The length of a frame and the lengths inside a state come from the image. An image that says
/// "here follow 2^60 bytes" must not make the tool, which runs as root, allocate all memory.
pub const MAX_STATE: usize = 256 << 20;

/// The most bytes that all records of an image may take together.
///
/// All records are in memory at once. Without this limit a sparse file of some kilobytes on disk
/// could claim terabytes of them.
pub const MAX_RECORDS: u64 = 4 << 30;
