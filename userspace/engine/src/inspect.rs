// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `inspect`: shows the contents of an image, without restoring anything.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use crust_image::{Reader, Record};
use crust_kinds::descriptor::table::Table;
use crust_kinds::registry::{Family, KINDS};
use crust_kinds::task::name::Name;
use crust_kinds::task::tree::Member;
use crust_model::object::State;
use crust_model::words::printable;
use crust_model::{Error, Result};
use serde::Serialize;
use serde_json::Value;

use crate::request::Place;
use crate::stream;

/// The contents of an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// The file.
    pub image: PathBuf,
    /// The version of the format, `MAJOR.MINOR`.
    pub format: String,
    /// The length of the image in bytes.
    pub image_bytes: u64,
    /// The number of bytes that are contents of memory.
    pub page_bytes: u64,
    /// The time of the dump, in seconds since 1970; null if the image does not tell it, as one of
    /// an older crust.
    pub dumped_at_s: Option<u64>,
    /// The name of the machine of the dump.
    pub host: Option<String>,
    /// The release of the kernel of the dump.
    pub kernel: Option<String>,
    /// The number of bytes of memory whose checksum was verified, if that was requested.
    pub verified_bytes: Option<u64>,
    /// The processes, parents before their children.
    pub processes: Vec<Process>,
    /// The records, in order.
    pub objects: Vec<Object>,
}

/// A process in an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// The number in the image, by which records name their owner.
    pub number: u32,
    /// The process id.
    pub pid: i32,
    /// The number of the parent; null for the root.
    pub parent: Option<u32>,
    /// The name (`comm`); empty for a zombie.
    pub name: String,
    /// The ids, threads and state in one line.
    pub what: String,
    /// The thread ids, the leader first.
    pub threads: Vec<i32>,
    /// The open descriptors, by number.
    pub descriptors: Vec<Descriptor>,
}

/// An open descriptor of a process in an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Descriptor {
    /// The number of the descriptor.
    pub fd: i32,
    /// Whether it is closed on exec.
    pub cloexec: bool,
    /// The number of the open file description: the same number means that the offset is shared.
    pub description: u32,
    /// The name of the kind of file.
    pub kind: String,
    /// A one-line description of the file.
    pub what: String,
}

/// An object in an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Object {
    /// The process that has it, or the number of the object itself if it belongs to none (open
    /// files).
    pub owner: u32,
    /// The index among the parts of its owner.
    pub part: u32,
    /// The family of its kind.
    pub family: Family,
    /// The name of its kind.
    pub kind: String,
    /// The version of the encoding.
    pub version: u16,
    /// Whether this crust can read it: if not, a newer one wrote it, or it is damaged.
    pub readable: bool,
    /// A one-line description; or why it cannot be read.
    pub what: String,
    /// The whole state; null if it cannot be read.
    pub state: Value,
}

impl Object {
    /// Describes a record, even if this crust cannot read it.
    fn of(record: &Record) -> Self {
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
        let Some(kind) = KINDS.get(record.tag) else {
            return object;
        };
        let row = kind.row;
        object.kind = row.name.into();
        if record.version > row.version {
            object.what = format!(
                "{size} bytes of version {}; a newer crust wrote it, this one reads version {}",
                record.version, row.version
            );
            return object;
        }
        match (row.decode)(record).and_then(|state| Ok((state.describe(), state.json()?))) {
            Ok((what, state)) => {
                object.readable = true;
                (object.what, object.state) = (what, state);
            }
            Err(error) => object.what = format!("{size} bytes that cannot be read: {error}"),
        }
        object
    }
}

/// Reads an image; with `verify`, the contents of memory too.
///
/// # Errors
///
/// Fails if the image is damaged.
pub fn inspect(image: &Place, verify: bool) -> Result<Inspection> {
    let reader = match image {
        Place::File(path) => Reader::open(path)?,
        Place::Stream => stream::receive()?,
    };
    let verified_bytes = if verify {
        Some(reader.verify_pages()?)
    } else {
        None
    };
    let objects: Vec<_> = reader.records().iter().map(Object::of).collect();
    let (major, minor) = reader.version();
    Ok(Inspection {
        image: image.name(),
        format: format!("{major}.{minor}"),
        image_bytes: reader.length(),
        page_bytes: reader.page_bytes(),
        dumped_at_s: reader.origin().map(|origin| origin.time),
        host: reader.origin().map(|origin| printable(&origin.host)),
        kernel: reader.origin().map(|origin| printable(&origin.kernel)),
        verified_bytes,
        processes: processes(reader.records(), &objects),
        objects,
    })
}

/// Returns the names of all threads in an image, by thread id, for messages.
///
/// # Errors
///
/// Fails if the image is damaged, or comes from a stream, which can be read only once.
pub fn names(image: &Place) -> Result<BTreeMap<i32, String>> {
    let Place::File(path) = image else {
        return Err(Error::malformed("a stream", "it was read already"));
    };
    let reader = Reader::open(path)?;
    let of = |tag| {
        let records = reader.records().iter();
        records.filter(move |record| record.tag == tag)
    };
    let mut threads = HashMap::new();
    for record in of(Member::TAG) {
        threads.insert(record.owner, Member::from_record(record)?);
    }
    let mut names = BTreeMap::new();
    for record in of(Name::TAG) {
        let Some(member) = threads.get(&record.owner) else {
            continue;
        };
        let number = record.part as usize;
        // A zombie has a name, but no threads.
        let thread = member.threads.get(number).copied();
        let thread = thread.or((number == 0).then_some(member.pid));
        if let Some(thread) = thread {
            let name = Name::from_record(record)?.describe();
            names.insert(thread, printable(&name));
        }
    }
    Ok(names)
}

/// Returns the processes of an image, with their names and descriptors, as far as this crust can
/// read them. `objects` are the descriptions of `records`, one for each.
fn processes(records: &[Record], objects: &[Object]) -> Vec<Process> {
    let of = |tag| records.iter().filter(move |record| record.tag == tag);
    let mut names = HashMap::new();
    for record in of(Name::TAG).filter(|record| record.part == 0) {
        if let Ok(name) = Name::from_record(record) {
            names.insert(record.owner, printable(&name.describe()));
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
    let mut known = HashSet::new();
    of(Member::TAG)
        .filter_map(|record| Some((record.owner, Member::from_record(record).ok()?)))
        // Only a damaged image has a process twice, or one before its parent.
        .filter(|(number, member)| {
            member.parent.is_none_or(|parent| parent < *number) && known.insert(*number)
        })
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
        let look = |tag, version, body: &[u8]| {
            let record = Record {
                tag,
                version,
                owner: 1,
                part: 0,
                body: body.into(),
            };
            let object = Object::of(&record);
            assert_eq!(processes(&[record], std::slice::from_ref(&object)), []);
            assert!(!object.readable);
            assert_eq!(object.state, Value::Null);
            (object.kind, object.what)
        };
        // Records of another family, of the format, and of families that we know.
        for tag in [0x7f01, 0x0002, 0x01ff, 0x03ff] {
            let (kind, what) = look(tag, 1, b"xyz");
            assert_eq!(kind, format!("unknown kind {tag:#06x}"));
            assert_eq!(what, "3 bytes; a newer crust wrote it");
        }
        // Kinds that we know, in a version that we do not, or damaged: including those from which
        // processes are built.
        for tag in [Name::TAG, Table::TAG, Member::TAG] {
            let row = KINDS.get(tag).unwrap().row;
            let (kind, what) = look(tag, row.version + 1, b"xyz");
            assert_eq!(kind, row.name);
            assert!(what.contains("a newer crust wrote it"), "{what}");
            let (_, what) = look(tag, row.version, b"");
            assert!(what.contains("cannot be read"), "{what}");
        }
    }
}
