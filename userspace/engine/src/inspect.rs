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
    /// What it is, in a line.
    pub what: String,
    /// Its whole state; null if the kind is not known.
    pub state: Value,
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
    let objects = reader
        .records()
        .iter()
        .map(|record| {
            let (kind, what) = kinds.describe(record)?;
            let state = match kinds.get(record.tag) {
                Some(row) => (row.json)(record)?,
                None => Value::Null,
            };
            Ok(Object {
                owner: record.owner,
                part: record.part,
                family: Family::of(record.tag),
                kind,
                what,
                state,
            })
        })
        .collect::<Result<_>>()?;
    let (major, minor) = reader.version();
    Ok(Inspection {
        image: image.name(),
        format: format!("{major}.{minor}"),
        image_bytes: reader.length(),
        page_bytes: reader.page_bytes(),
        verified_bytes,
        processes: processes(reader.records(), &kinds)?,
        objects,
    })
}

/// The processes of an image, with their names and descriptors.
fn processes(records: &[Record], kinds: &Registry) -> Result<Vec<Process>> {
    let of = |tag| records.iter().filter(move |record| record.tag == tag);
    let mut names = HashMap::new();
    for record in of(Name::TAG).filter(|record| record.part == 0) {
        names.insert(record.owner, Name::from_record(record)?.describe());
    }
    let mut descriptions = HashMap::new();
    for record in records {
        // The owner of a description's record is its own number.
        if Family::of(record.tag) == Family::File && record.tag != Table::TAG {
            descriptions.insert(record.owner, kinds.describe(record)?);
        }
    }
    let mut tables = HashMap::new();
    for record in of(Table::TAG) {
        tables.insert(record.owner, Table::from_record(record)?);
    }
    let descriptors = |process: u32| {
        let table = tables.get(&process)?;
        let table = match table.shares {
            Some(other) => tables.get(&other.0)?,
            None => table,
        };
        let one = |slot: &crust_kinds::descriptor::table::Slot| {
            let description = slot.description.0;
            let (kind, what) = descriptions.get(&description).cloned().unwrap_or_default();
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
        .map(|record| {
            let member = Member::from_record(record)?;
            Ok(Process {
                number: record.owner,
                pid: member.pid,
                parent: member.parent,
                name: names.get(&record.owner).cloned().unwrap_or_default(),
                what: member.describe(),
                threads: member.threads,
                descriptors: descriptors(record.owner).unwrap_or_default(),
            })
        })
        .collect()
}
