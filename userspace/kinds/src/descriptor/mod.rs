// SPDX-License-Identifier: Apache-2.0 OR MIT

//! File descriptors: their tables, and the open file descriptions to which they refer.

pub mod lock;
pub mod table;

use std::fmt;

use serde::{Deserialize, Serialize};

/// The id of an open file description of the tree, numbered in the order of discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DescriptionId(pub u32);

impl fmt::Display for DescriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "description {}", self.0)
    }
}
