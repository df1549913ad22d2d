// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A record: the contents of an image about one object, before they are framed.

/// The encoded state of an object, and its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The kind of object. Never reused, never renumbered. Tags below 0x0100 belong to the
    /// format itself; outside of this crate only those of a newer format are visible.
    pub tag: u16,
    /// The version of the kind's encoding.
    pub version: u16,
    /// The process that has the object, or the number of the object itself if it belongs to none.
    pub owner: u32,
    /// The index among the parts of its owner: the thread, the entry.
    pub part: u32,
    /// The encoded state.
    pub body: Vec<u8>,
}
