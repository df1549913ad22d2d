// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A record: what an image holds of one object, before it is framed.

/// The encoded state of one object, and what it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The kind of object. Never reused, never renumbered. Those below [`FIRST_TAG`] belong to the
    /// format itself; outside of this crate only those are seen that a newer format has.
    pub tag: u16,
    /// The version of the kind's encoding.
    pub version: u16,
    /// The process that has it, or its number if it belongs to none.
    pub owner: u32,
    /// Which one of its owner's: the thread, the entry.
    pub part: u32,
    /// The encoded state.
    pub body: Vec<u8>,
}

/// The first tag that a kind of object may have.
pub const FIRST_TAG: u16 = 0x0100;
