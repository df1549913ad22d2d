// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The image format: frames, codec, pages and the store that makes an image complete or absent.

pub mod codec;
pub mod record;

pub use record::Record;

/// An image could not be read or written. (The image crate's owner replaces this.)
#[derive(Debug, thiserror::Error)]
#[error("image")]
pub struct Error;
