// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What can be wrong with an image: every error names the file, and the place in it.

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
        /// What was being done.
        operation: &'static str,
        /// Why it failed.
        error: io::Error,
    },
    /// The file is something else.
    #[error("{}: not an image of crust: {problem}", path.display())]
    NotAnImage {
        /// The file.
        path: PathBuf,
        /// How one can tell.
        problem: String,
    },
    /// It is an image, but not one that this crust can read.
    #[error("{}: {problem}", path.display())]
    Unsupported {
        /// The image.
        path: PathBuf,
        /// What is not supported.
        problem: String,
    },
    /// The image is not what was written.
    #[error("{}: damaged at byte {offset}: {problem}", path.display())]
    Damaged {
        /// The image.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },
    /// More than an image can hold.
    #[error("{what}: {size} bytes, more than the {limit} that an image can hold")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// How large it is.
        size: u64,
        /// How large it may be.
        limit: u64,
    },
    /// A state that cannot be encoded or decoded.
    #[error("{action} a state: {problem}")]
    Codec {
        /// `encode` or `decode`.
        action: &'static str,
        /// What is wrong.
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
