// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Errors in images: each of them names the file, and the place in it.

use std::io;
use std::path::{Path, PathBuf};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An image could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on the file or its directory failed.
    #[error("{}: {operation}: {error}", path.display())]
    Io {
        /// The image.
        path: PathBuf,
        /// The operation that was under way.
        operation: &'static str,
        /// The cause of the failure.
        error: io::Error,
    },
    /// The file is not an image.
    #[error("{}: not an image of crust: {problem}", path.display())]
    NotAnImage {
        /// The file.
        path: PathBuf,
        /// The reason why it cannot be one.
        problem: String,
    },
    /// The file is an image, but not one that this crust can read.
    #[error("{}: {problem}", path.display())]
    Unsupported {
        /// The image.
        path: PathBuf,
        /// The feature that is not supported.
        problem: String,
    },
    /// The contents of the image have changed since they were written.
    #[error("{}: damaged at byte {offset}: {problem}", path.display())]
    Damaged {
        /// The image.
        path: PathBuf,
        /// The offset where the damage begins.
        offset: u64,
        /// The kind of damage.
        problem: String,
    },
    /// The data is larger than an image can hold.
    #[error("{what}: {size} bytes, more than the {limit} that an image can hold")]
    TooLarge {
        /// The data that is too large.
        what: &'static str,
        /// The size in bytes.
        size: u64,
        /// The maximum size in bytes.
        limit: u64,
    },
    /// A state could not be encoded or decoded.
    #[error("{action} a state: {problem}")]
    Codec {
        /// `encode` or `decode`.
        action: &'static str,
        /// The cause of the failure.
        problem: String,
    },
}

impl Error {
    pub(crate) fn io(path: &Path, operation: &'static str, error: impl Into<io::Error>) -> Self {
        Self::Io {
            path: path.to_owned(),
            operation,
            error: error.into(),
        }
    }

    pub(crate) fn damaged(path: &Path, offset: u64, problem: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            offset,
            problem: problem.into(),
        }
    }
}
