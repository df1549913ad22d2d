// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Descriptors: the tables in which they are, and what they are of.

pub mod lock;
pub mod table;

use std::fmt;

use serde::{Deserialize, Serialize};

/// An open file description of the tree, numbered as they were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DescriptionId(pub u32);

impl fmt::Display for DescriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "description {}", self.0)
    }
}
