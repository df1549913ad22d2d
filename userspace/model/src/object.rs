// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The kinds of kernel objects: one file each, and one table for each family.
//!
//! A kind is a plain serde struct that implements [`State`] and its family's trait
//! (`task::Aspect`, `memory::MappingKind`, `file::FileKind`), and a line in the family's
//! table. Dump, restore, `inspect`, `explain` and `docs/support.md` derive from the tables.

use crust_image::{Record, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// What every kind of object has: its name, its number in images, its words for people.
pub trait State: Serialize + DeserializeOwned {
    /// Number in images; never reused, never renumbered. Task aspects have 0x01xx, mappings
    /// 0x02xx, files 0x03xx, namespaces 0x04xx.
    const TAG: u16;
    /// Version of the encoding; raised when the struct changes.
    const VERSION: u16 = 1;
    /// What it is called, in English, as `pipe`.
    const NAME: &'static str;
    /// One sentence for `docs/support.md`: what is carried over.
    const SUPPORT: &'static str;

    /// One line for `inspect`.
    fn describe(&self) -> String;

    /// The contents that it has in the image, beside its record: see [`Extent`].
    fn extents(&self) -> Vec<Extent> {
        Vec::new()
    }

    /// The record of this state.
    fn record(&self, owner: u32, part: u32) -> Result<Record> {
        let body = codec::encode(self)?;
        Ok(Record {
            tag: Self::TAG,
            version: Self::VERSION,
            owner,
            part,
            body,
        })
    }

    /// The state in a record.
    ///
    /// # Errors
    ///
    /// If it is of another version than this one, or damaged.
    fn from_record(record: &Record) -> Result<Self> {
        if record.version != Self::VERSION {
            return Err(Error::malformed(
                Self::NAME,
                format!(
                    "the image has version {} of it, this crust reads {}",
                    record.version,
                    Self::VERSION
                ),
            ));
        }
        codec::decode(&record.body).map_err(|error| Error::malformed(Self::NAME, error.to_string()))
    }
}

/// Contents in the image, beside the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where in the image they begin, in bytes.
    pub offset: u64,
    /// How many bytes they are.
    pub bytes: u64,
}

/// What can be asked of a kind without its type: a row of a table.
#[derive(Clone, Copy)]
pub struct Row {
    /// [`State::TAG`].
    pub tag: u16,
    /// [`State::NAME`].
    pub name: &'static str,
    /// [`State::SUPPORT`].
    pub support: &'static str,
    /// [`State::describe`] of a record.
    pub describe: fn(&Record) -> Result<String>,
    /// [`State::extents`] of a record.
    pub extents: fn(&Record) -> Result<Vec<Extent>>,
    /// A record as JSON.
    pub json: fn(&Record) -> Result<serde_json::Value>,
}

impl Row {
    /// The row of a kind.
    #[must_use]
    pub const fn of<T: State>() -> Self {
        Self {
            tag: T::TAG,
            name: T::NAME,
            support: T::SUPPORT,
            describe: |record| Ok(T::from_record(record)?.describe()),
            extents: |record| Ok(T::from_record(record)?.extents()),
            json: |record| {
                let state = T::from_record(record)?;
                serde_json::to_value(&state)
                    .map_err(|error| Error::malformed(T::NAME, error.to_string()))
            },
        }
    }
}
