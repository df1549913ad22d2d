// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The numbers by which images and plans refer to the members of a list.

/// Returns an index or a length in the 32 bits in which images and plans store it.
///
/// Nothing is lost: a list in a record has fewer members than bytes, of which `crust_image` takes no
/// more than `MAX_STATE`, and 2^32 processes, descriptors or steps do not fit into memory.
///
/// # Panics
///
/// If there is such a list.
#[must_use]
pub fn number(index: usize) -> u32 {
    u32::try_from(index).expect("no list of an image or a plan has 2^32 members")
}
