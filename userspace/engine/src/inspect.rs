// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `inspect`: what an image holds, without restoring anything.

use std::collections::HashMap;
use std::path::PathBuf;

use crust_image::{Reader, Record};
use crust_kinds::descriptor::table::Table;
use crust_kinds::registry::{Family, Registry};
use crust_kinds::task::name::Name;
use crust_kinds::task::tree::Member;
use crust_model::Result;
use crust_model::object::State;
use serde::Serialize;
use serde_json::Value;

use crate::request::Place;
use crate::stream;

/// What an image holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// The file.
    pub image: PathBuf,
    /// The version of its format, `MAJOR.MINOR`.
    pub format: String,
    /// Its length in bytes.
    pub image_bytes: u64,
    /// Bytes of it that are contents of memory.
    pub page_bytes: u64,
    /// Bytes of memory whose checksum was compared, if that was asked for.
    pub verified_bytes: Option<u64>,
    /// Its processes, parents before their children.
    pub processes: Vec<Process>,
    /// Its records, in their order.
    pub objects: Vec<Object>,
}

/// A process in an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its number in the image, by which records name their owner.
    pub number: u32,
    /// Its process id.
    pub pid: i32,
    /// The number of its parent; null for the root.
    pub parent: Option<u32>,
    /// Its name (`comm`); empty for a zombie.
    pub name: String,
    /// Its ids, threads and state, in a line.
    pub what: String,
    /// Its threads, the leader first.
    pub threads: Vec<i32>,
    /// Its open descriptors, by number.
    pub descriptors: Vec<Descriptor>,
}

/// An open descriptor of a process in an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Descriptor {
    /// Its number.
    pub fd: i32,
    /// Whether it is closed on exec.
    pub cloexec: bool,
    /// The open file description: the same number means that the offset is shared.
    pub description: u32,
    /// What that is called.
    pub kind: String,
    /// What it is, in a line.
    pub what: String,
}

/// An object in an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Object {
    /// The process that has it, or its own number if it belongs to none (open files).
    pub owner: u32,
    /// Which one of its owner's.
    pub part: u32,
    /// Its family.
    pub family: Family,
    /// What it is called.
    pub kind: String,
    /// The version of its encoding.
    pub version: u16,
    /// Whether this crust can read it: if not, a newer one wrote it, or it makes no sense.
    pub readable: bool,
    /// What it is, in a line; or why it cannot be read.
    pub what: String,
    /// Its whole state; null if it cannot be read.
    pub state: Value,
}

impl Object {
    /// What a record says, whatever this crust makes of it.
    fn of(record: &Record, kinds: &Registry) -> Self {
        let size = record.body.len();
        let mut object = Self {
            owner: record.owner,
            part: record.part,
            family: Family::of(record.tag),
            kind: format!("unknown kind {:#06x}", record.tag),
            version: record.version,
            readable: false,
            what: format!("{size} bytes; a newer crust wrote it"),
            state: Value::Null,
        };
        let Some(row) = kinds.get(record.tag) else {
            return object;
        };
        object.kind = row.name.into();
        if record.version > row.version {
            object.what = format!(
                "{size} bytes of version {}; a newer crust wrote it, this one reads version {}",
                record.version, row.version
            );
            return object;
        }
        match (row.describe)(record).and_then(|what| Ok((what, (row.json)(record)?))) {
            Ok((what, state)) => {
                object.readable = true;
                (object.what, object.state) = (what, state);
            }
            Err(error) => object.what = format!("{size} bytes that cannot be read: {error}"),
        }
        object
    }
}

/// Looks into an image; with `verify` at the contents of memory too.
///
/// # Errors
///
/// If the image is damaged.
pub fn inspect(image: &Place, verify: bool) -> Result<Inspection> {
    let kinds = Registry::all();
    let reader = match image {
        Place::File(path) => Reader::open(path)?,
        Place::Stream => stream::receive()?,
    };
    let verified_bytes = if verify {
        Some(reader.verify_pages()?)
    } else {
        None
    };
    let objects: Vec<_> = reader
        .records()
        .iter()
        .map(|record| Object::of(record, &kinds))
        .collect();
    let (major, minor) = reader.version();
    Ok(Inspection {
        image: image.name(),
        format: format!("{major}.{minor}"),
        image_bytes: reader.length(),
        page_bytes: reader.page_bytes(),
        verified_bytes,
        processes: processes(reader.records(), &objects),
        objects,
    })
}

/// The processes of an image, with their names and descriptors: those that this crust can read. `objects` are what was
/// found in `records`, one by one.
fn processes(records: &[Record], objects: &[Object]) -> Vec<Process> {
    let of = |tag| records.iter().filter(move |record| record.tag == tag);
    let mut names = HashMap::new();
    for record in of(Name::TAG).filter(|record| record.part == 0) {
        if let Ok(name) = Name::from_record(record) {
            names.insert(record.owner, name.describe());
        }
    }
    let mut descriptions = HashMap::new();
    for (record, object) in records.iter().zip(objects) {
        // The owner of a description's record is its own number.
        if object.family == Family::File && record.tag != Table::TAG {
            descriptions.insert(record.owner, object);
        }
    }
    let mut tables = HashMap::new();
    for record in of(Table::TAG) {
        if let Ok(table) = Table::from_record(record) {
            tables.insert(record.owner, table);
        }
    }
    let descriptors = |process: u32| {
        let table = tables.get(&process)?;
        let table = match table.shares {
            Some(other) => tables.get(&other.0)?,
            None => table,
        };
        let one = |slot: &crust_kinds::descriptor::table::Slot| {
            let description = slot.description.0;
            let (kind, what) = descriptions
                .get(&description)
                .map(|object| (object.kind.clone(), object.what.clone()))
                .unwrap_or_default();
            Descriptor {
                fd: slot.number,
                cloexec: slot.cloexec,
                description,
                kind,
                what,
            }
        };
        Some(table.slots.iter().map(one).collect())
    };
    of(Member::TAG)
        .filter_map(|record| Some((record.owner, Member::from_record(record).ok()?)))
        .map(|(number, member)| Process {
            number,
            pid: member.pid,
            parent: member.parent,
            name: names.get(&number).cloned().unwrap_or_default(),
            what: member.describe(),
            threads: member.threads,
            descriptors: descriptors(number).unwrap_or_default(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_shown_as_such() {
        let kinds = Registry::all();
        let look = |tag, version, body: &[u8]| {
            let record = Record {
                tag,
                version,
                owner: 1,
                part: 0,
                body: body.into(),
            };
            let object = Object::of(&record, &kinds);
            assert_eq!(processes(&[record], std::slice::from_ref(&object)), []);
            assert!(!object.readable);
            assert_eq!(object.state, Value::Null);
            (object.kind, object.what)
        };
        // Of another family, of the format, of families that we know.
        for tag in [0x7f01, 0x0002, 0x01ff, 0x03ff] {
            let (kind, what) = look(tag, 1, b"xyz");
            assert_eq!(kind, format!("unknown kind {tag:#06x}"));
            assert_eq!(what, "3 bytes; a newer crust wrote it");
        }
        // Kinds that we know, in a version that we do not, or damaged: also those from which processes are made.
        for tag in [Name::TAG, Table::TAG, Member::TAG] {
            let row = kinds.get(tag).unwrap();
            let (kind, what) = look(tag, row.version + 1, b"xyz");
            assert_eq!(kind, row.name);
            assert!(what.contains("a newer crust wrote it"), "{what}");
            let (_, what) = look(tag, row.version, b"");
            assert!(what.contains("cannot be read"), "{what}");
        }
    }
}
