// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The image of a process tree: one file that is complete or absent.
//!
//! ```text
//!  0          header     one page: magic, format version, where the rest is, checksum, origin
//!  page size  pages      raw memory contents, page-aligned, in the order of reservation
//!  ...        records    frames of {tag, version, owner, part, length, checksum} and an encoded state
//! ```
//!
//! The records come last because they are known last, and the header says where they are: a program
//! that only looks at an image reads one page and the records. `docs/format.md` describes the
//! format completely.
//!
//! An image can also be sent through a pipe: as the same bytes, from and into a [temporary
//! file](scratch).
//!
//! This crate knows nothing of processes. A dump uses [`Writer`], everything else [`Reader`];
//! [`codec`] encodes the state of one kind of object into the body of a [`Record`].

#![forbid(unsafe_code)]
// Only tests cast numbers freely: they have chosen them.
#![cfg_attr(
    not(test),
    warn(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        clippy::cast_lossless
    )
)]

pub mod codec;
pub mod error;
mod frame;
mod header;
mod origin;
pub mod pages;
mod reader;
pub mod record;
pub mod scratch;
mod writer;

pub use error::{Error, Result};
pub use header::{FORMAT_MAJOR, FORMAT_MINOR, MACHINE, PAGE_SIZE};
pub use origin::Origin;
pub use pages::PageSum;
pub use reader::Reader;
pub use record::Record;
pub use scratch::scratch_directory;
pub use writer::{Finished, Writer};

/// The maximum number of bytes for the state of one object.
///
/// The length of a frame and the lengths inside a state come from the image. An image that claims
/// that 2^60 bytes follow must not make crust, which runs as root, allocate all memory.
pub const MAX_STATE: usize = 256 << 20;

/// The maximum number of bytes for all records of an image together.
///
/// All records are in memory at once. Without this limit a sparse file of some kilobytes on disk
/// could claim terabytes of them.
pub const MAX_RECORDS: u64 = 4 << 30;
