// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The kinds of kernel objects: one file each, and one table for each family.
//!
//! A kind is a plain serde struct that implements [`State`] and the trait of its family
//! (`task::Aspect`, `memory::MappingKind`, `file::FileKind`), and has a line in the family's table.
//! Dump, restore, `inspect`, `explain` and `docs/support.md` derive from the tables.

use std::cmp::Ordering;

use crust_image::{Record, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// The properties of every kind of object: its name, its number in images, and texts for users.
pub trait State: Serialize + DeserializeOwned {
    /// The number in images; never reused, never renumbered. Task aspects have 0x01xx, mappings
    /// 0x02xx, files 0x03xx, namespaces 0x04xx.
    const TAG: u16;
    /// The version of the encoding; incremented when the struct changes.
    const VERSION: u16 = 1;
    /// The English name of the kind, as in `pipe`.
    const NAME: &'static str;
    /// A sentence for `docs/support.md` that says what is carried over.
    const SUPPORT: &'static str;

    /// Returns a one-line description for `inspect`.
    fn describe(&self) -> String;

    /// Returns the contents that the object has in the image in addition to its record: see
    /// [`Extent`].
    fn extents(&self) -> Vec<Extent> {
        Vec::new()
    }

    /// Returns the record of this state.
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

    /// Reads the state from a record of an older version of the encoding.
    ///
    /// A kind whose structure changes increments [`VERSION`](Self::VERSION), and reads its older
    /// records here: it decodes them with [`decode`] into the former structure, and converts that
    /// into the current one, if the new fields have a value with the same meaning. If they have
    /// none, the older version is refused, which is the default.
    ///
    /// # Errors
    ///
    /// Fails if this crust no longer reads that version, or if `body` is damaged.
    fn upgrade(version: u16, body: &[u8]) -> Result<Self> {
        let _ = body;
        Err(other_version::<Self>(version))
    }

    /// Reads the state from a record.
    ///
    /// # Errors
    ///
    /// Fails if the record has a version that this crust does not read, or is damaged.
    fn from_record(record: &Record) -> Result<Self> {
        match record.version.cmp(&Self::VERSION) {
            Ordering::Equal => decode(Self::NAME, &record.body),
            Ordering::Less => Self::upgrade(record.version, &record.body),
            Ordering::Greater => Err(other_version::<Self>(record.version)),
        }
    }
}

/// Contents in the image outside of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The offset in the image, in bytes.
    pub offset: u64,
    /// The length in bytes.
    pub bytes: u64,
}

/// Decodes a state, or the structure of an older version; `name` is used in errors.
///
/// # Errors
///
/// Fails if the bytes are not an encoding of `T`.
pub fn decode<T: DeserializeOwned>(name: &str, body: &[u8]) -> Result<T> {
    codec::decode(body).map_err(|error| Error::malformed(name, error.to_string()))
}

/// Returns an error that says that a record has a version which this crust does not read.
pub fn other_version<T: State>(version: u16) -> Error {
    let problem = format!(
        "the image has version {version} of it, this crust reads {}",
        T::VERSION
    );
    Error::malformed(T::NAME, problem)
}

/// The untyped interface of a kind: a row of a table.
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
    /// Calls [`State::describe`] for a record.
    pub describe: fn(&Record) -> Result<String>,
    /// Calls [`State::extents`] for a record.
    pub extents: fn(&Record) -> Result<Vec<Extent>>,
    /// Converts a record to JSON.
    pub json: fn(&Record) -> Result<serde_json::Value>,
}

impl Row {
    /// Makes the row of a kind.
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

    /// A kind in its third version. The second version had no `flags`; the first had another field
    /// instead of `number`, and can no longer be read.
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
        // It is written in the new version.
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
