// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What all kinds of kernel objects have in common as data: a number in images, a name, an encoding.
//!
//! A kind is a plain serde struct that implements [`State`]. [`Object`] is the same without its
//! type, and a [`Row`] is what a table of kinds says of it.

use std::any::Any;
use std::cmp::Ordering;
use std::fmt;

use crust_image::{Record, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::plan::{ProcessId, TaskId};
use crate::{Error, Result};

/// To what an object belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The process, as a number in the image; for an open file, the description itself.
    pub number: u32,
    /// The thread of the process, or the index among the objects of one kind that the process has.
    pub part: u32,
}

impl Owner {
    /// Returns the owner named in a record.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        Self {
            number: record.owner,
            part: record.part,
        }
    }

    /// Returns the process, for a kind whose objects belong to processes or threads.
    #[must_use]
    pub fn process(self) -> ProcessId {
        ProcessId(self.number)
    }

    /// Returns the thread, for a kind whose objects belong to threads.
    #[must_use]
    pub fn task(self) -> TaskId {
        TaskId {
            process: self.process(),
            thread: self.part,
        }
    }
}

impl From<(u32, u32)> for Owner {
    fn from((number, part): (u32, u32)) -> Self {
        Self { number, part }
    }
}

impl From<ProcessId> for Owner {
    fn from(process: ProcessId) -> Self {
        process.leader().into()
    }
}

impl From<TaskId> for Owner {
    fn from(task: TaskId) -> Self {
        Self {
            number: task.process.0,
            part: task.thread,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.number, self.part)
    }
}

/// The properties of every kind of object: its name, its number in images, and texts for users.
pub trait State: Serialize + DeserializeOwned + Any {
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
    ///
    /// # Errors
    ///
    /// Fails if the state cannot be encoded.
    fn record(&self, owner: impl Into<Owner>) -> Result<Record> {
        let Owner { number, part } = owner.into();
        let body = codec::encode(self)?;
        Ok(Record {
            tag: Self::TAG,
            version: Self::VERSION,
            owner: number,
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

/// A [`State`] without its type.
pub trait Object: Any {
    /// Returns the row of its kind.
    fn row(&self) -> Row;

    /// Calls [`State::describe`].
    fn describe(&self) -> String;

    /// Calls [`State::extents`].
    fn extents(&self) -> Vec<Extent>;

    /// Calls [`State::record`].
    ///
    /// # Errors
    ///
    /// Fails if the state cannot be encoded.
    fn record(&self, owner: Owner) -> Result<Record>;

    /// Converts the whole state to JSON.
    ///
    /// # Errors
    ///
    /// Fails if the state has something that JSON cannot express.
    fn json(&self) -> Result<serde_json::Value>;

    /// Returns the state for a downcast to its type.
    fn as_any(&self) -> &dyn Any;
}

impl<T: State> Object for T {
    fn row(&self) -> Row {
        Row::of::<T>()
    }

    fn describe(&self) -> String {
        State::describe(self)
    }

    fn extents(&self) -> Vec<Extent> {
        State::extents(self)
    }

    fn record(&self, owner: Owner) -> Result<Record> {
        State::record(self, owner)
    }

    fn json(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(|error| Error::malformed(T::NAME, error.to_string()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What a table of kinds says of a kind.
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
    /// Calls [`State::from_record`].
    pub decode: fn(&Record) -> Result<Box<dyn Object>>,
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
            decode: |record| Ok(Box::new(T::from_record(record)?)),
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
        let object = (Row::of::<Lamp>().decode)(&old).unwrap();
        assert_eq!(object.describe(), "300 desk");
        // It is written in the new version.
        let new = State::record(&lamp, ProcessId(1)).unwrap();
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
