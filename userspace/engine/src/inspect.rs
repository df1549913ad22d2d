// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `inspect`: what an image holds, without restoring anything.

use std::path::{Path, PathBuf};

use crust_image::Reader;
use serde::Serialize;
use serde_json::Value;

use crate::Result;
use crate::kinds::{Family, Kinds};

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
    /// Its records, in their order.
    pub objects: Vec<Object>,
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
pub fn inspect(image: &Path, verify: bool) -> Result<Inspection> {
    let kinds = Kinds::all();
    let reader = Reader::open(image)?;
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
        image: image.into(),
        format: format!("{major}.{minor}"),
        image_bytes: reader.length(),
        page_bytes: reader.page_bytes(),
        verified_bytes,
        objects,
    })
}
