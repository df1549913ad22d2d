// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The kinds of kernel objects: one file each, and one table for each family.
//!
//! A kind is a plain serde struct that implements [`State`] and its family's trait
//! (`task::Aspect`, `memory::MappingKind`, `file::FileKind`), and a line in the family's
//! table. Dump, restore, `inspect`, `explain` and `docs/support.md` derive from the tables.

use std::cmp::Ordering;

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

    /// The state in a record of an older version of the encoding.
    ///
    /// A kind whose structure changes raises [`VERSION`](Self::VERSION), and reads here what it has written before:
    /// with [`decode`] into the structure as it was, and from that into what it is now, if what is new has a value
    /// that says the same. Where it has none, the older version is refused, as by default.
    ///
    /// # Errors
    ///
    /// If this crust does not read that version any more, or `body` is damaged.
    fn upgrade(version: u16, body: &[u8]) -> Result<Self> {
        let _ = body;
        Err(other_version::<Self>(version))
    }

    /// The state in a record.
    ///
    /// # Errors
    ///
    /// If it is of a version that this crust does not read, or damaged.
    fn from_record(record: &Record) -> Result<Self> {
        match record.version.cmp(&Self::VERSION) {
            Ordering::Equal => decode(Self::NAME, &record.body),
            Ordering::Less => Self::upgrade(record.version, &record.body),
            Ordering::Greater => Err(other_version::<Self>(record.version)),
        }
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

/// Decodes a state, or what it was in an older version; `name` is what errors call it.
///
/// # Errors
///
/// If it is something else.
pub fn decode<T: DeserializeOwned>(name: &str, body: &[u8]) -> Result<T> {
    codec::decode(body).map_err(|error| Error::malformed(name, error.to_string()))
}

/// That a record is of a version which this crust does not read.
pub fn other_version<T: State>(version: u16) -> Error {
    let problem = format!(
        "the image has version {version} of it, this crust reads {}",
        T::VERSION
    );
    Error::malformed(T::NAME, problem)
}

/// What can be asked of a kind without its type: a row of a table.
#[derive(Clone, Copy)]
pub struct Row {
    /// [`State::TAG`].
    pub tag: u16,
    /// [`State::VERSION`].
    pub version: u16,
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
            version: T::VERSION,
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

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// A kind in its third version. The second had no `flags`; the first had something else instead of `number`,
    /// and cannot be read any more.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Lamp {
        number: u32,
        flags: u32,
        name: String,
    }

    #[derive(Serialize, Deserialize)]
    struct Lamp2 {
        number: u32,
        name: String,
    }

    impl State for Lamp {
        const TAG: u16 = 0x7f01;
        const VERSION: u16 = 3;
        const NAME: &'static str = "lamp";
        const SUPPORT: &'static str = "Lamps.";

        fn describe(&self) -> String {
            format!("{} {}", self.number, self.name)
        }

        fn upgrade(version: u16, body: &[u8]) -> Result<Self> {
            match version {
                2 => {
                    let Lamp2 { number, name } = decode(Self::NAME, body)?;
                    let flags = 0;
                    Ok(Self {
                        number,
                        flags,
                        name,
                    })
                }
                _ => Err(other_version::<Self>(version)),
            }
        }
    }

    fn record(version: u16, body: Vec<u8>) -> Record {
        Record {
            tag: Lamp::TAG,
            version,
            owner: 1,
            part: 0,
            body,
        }
    }

    #[test]
    fn a_record_of_an_older_version_is_read() {
        let old = Lamp2 {
            number: 300,
            name: "desk".into(),
        };
        let old = record(2, codec::encode(&old).unwrap());
        let lamp = Lamp {
            number: 300,
            flags: 0,
            name: "desk".into(),
        };
        assert_eq!(Lamp::from_record(&old).unwrap(), lamp);
        assert_eq!((Row::of::<Lamp>().describe)(&old).unwrap(), "300 desk");
        // It is written as one of the new version.
        let new = lamp.record(1, 0).unwrap();
        assert_eq!(new.version, 3);
        assert_eq!(Lamp::from_record(&new).unwrap(), lamp);
    }

    #[test]
    fn versions_that_are_not_known_are_refused_and_a_damaged_old_one_too() {
        for version in [0, 1, 4, u16::MAX] {
            let error = Lamp::from_record(&record(version, vec![1, 0])).unwrap_err();
            let said = format!("lamp: the image has version {version} of it, this crust reads 3");
            assert_eq!(error.to_string(), said);
        }
        let error = Lamp::from_record(&record(2, vec![1, 9, b'x'])).unwrap_err();
        assert!(error.to_string().starts_with("lamp: decode"), "{error}");
    }
}
