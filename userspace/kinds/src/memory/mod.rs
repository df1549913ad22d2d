// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The memory of a process: one file for each kind of mapping, and one table of them.
//!
//! A setting of the address space as a whole, or of mappings of any kind, is an
//! [aspect](aspect::SpaceAspect) of it.
//!
//! A process may have tens of thousands of mappings, so there is one record for each kind and
//! process, which holds all mappings of that kind ([`Mappings`]). The contents are stored
//! separately, see [`pages`].
//!
//! A restore builds an address space in four stages: everything is mapped (`MapMemory`), shared
//! memory that another process made is mapped (`ShareMemory`), the pages are read (`FillMemory`),
//! and what would interfere with that (protections, locks, seals) is set at the end (`SealMemory`).

pub mod address_space;
pub mod area;
pub mod aspect;
pub mod attach;
pub mod backed;
pub mod build_id;
pub mod capture;
pub mod file_backed;
pub mod fork_groups;
pub mod forkable_range;
pub mod huge_anonymous;
pub mod huge_pages;
pub mod layout;
pub mod map_count;
pub mod mapped_file;
pub mod pages;
pub mod plan;
pub mod policy;
pub mod private_anonymous;
pub mod program;
pub mod protection_keys;
pub mod refused;
pub mod segments;
pub mod shadow_stack;
pub mod shared_anonymous;
pub mod uring_memory;
pub mod vdso;
pub mod write_execute;

use std::collections::BTreeMap;

use crust_image::Record;
use crust_model::Result;
use crust_model::object::{Row, State};
use crust_model::refusal::Refusals;
use crust_proc::smaps::Vma;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::address_space::AddressSpace;
use self::area::Area;
pub use self::capture::{MemoryCapture, capture};
use self::layout::Layout;
use self::mapped_file::MappedFiles;
pub use self::plan::plan;
use self::shadow_stack::ShadowStack;
use self::vdso::Vdso;
use crate::ipc::sysv_shm;
use crate::pathless;

/// The pages of a mapping that an image has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// All pages that exist.
    Private,
    /// The pages that no longer come from the file.
    Written,
    /// The pages of the object that backs it, which others may share.
    Object,
    /// No pages.
    Elsewhere,
}

/// A kind of mapping: what backs a range of addresses.
pub trait MappingKind: Serialize + DeserializeOwned {
    /// The number in images, 0x021x; never reused, never renumbered.
    const TAG: u16;
    /// The version of the encoding; raised when the struct changes.
    const VERSION: u16 = 1;
    /// The name of the kind.
    const NAME: &'static str;
    /// One sentence for `docs/support.md`.
    const SUPPORT: &'static str;
    /// The pages that the image holds.
    const CONTENT: Content;

    /// Returns whether a mapping is of this kind. The kinds are tried in the order of the table.
    fn matches(vma: &Vma) -> bool;
    /// Captures the state of a mapping; returns `None` after a refusal.
    fn capture(vma: &Vma, found: &mut MemoryCapture<'_>) -> Result<Option<Self>>;
    /// Returns the address range of the mapping, with its protection and advice.
    fn area(&self) -> &Area;
    /// Emits the steps that map all mappings of this kind of one process.
    fn plan(list: &[Self], layout: &mut Layout<'_>) -> Result<()>;
    /// Returns one line for `inspect`.
    fn describe(&self) -> String;
}

/// All mappings of one kind of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "K: MappingKind")]
pub struct Mappings<K>(pub Vec<K>);

impl<K: MappingKind> State for Mappings<K> {
    const TAG: u16 = K::TAG;
    const VERSION: u16 = K::VERSION;
    const NAME: &'static str = K::NAME;
    const SUPPORT: &'static str = K::SUPPORT;

    fn describe(&self) -> String {
        // Each mapping gets one line.
        let lines: Vec<String> = self.0.iter().map(K::describe).collect();
        lines.join("\n")
    }
}

/// A row of the table: a kind without its type.
struct Kind {
    row: Row,
    content: Content,
    matches: fn(&Vma) -> bool,
    capture: fn(&[Vma], &mut MemoryCapture<'_>) -> Result<Option<Record>>,
    areas: fn(&Record) -> Result<Vec<Area>>,
    plan: fn(&Record, &mut Layout<'_>) -> Result<()>,
}

impl Kind {
    const fn of<K: MappingKind>() -> Self {
        Self {
            row: Row::of::<Mappings<K>>(),
            content: K::CONTENT,
            matches: K::matches,
            capture: |vmas, found| {
                let mut list = Vec::with_capacity(vmas.len());
                for vma in vmas {
                    list.extend(K::capture(vma, found)?);
                }
                let owner = found.process.id.0;
                (!list.is_empty())
                    .then(|| Mappings(list).record(owner, 0))
                    .transpose()
            },
            areas: |record| {
                let list = Mappings::<K>::from_record(record)?.0;
                Ok(list.iter().map(|kind| kind.area().clone()).collect())
            },
            plan: |record, layout| K::plan(&Mappings::<K>::from_record(record)?.0, layout),
        }
    }
}

/// The table of kinds. A mapping is of the first kind that matches.
static KINDS: &[Kind] = &[
    Kind::of::<Vdso>(),
    Kind::of::<ShadowStack>(),
    Kind::of::<private_anonymous::PrivateAnonymous>(),
    Kind::of::<huge_anonymous::HugeAnonymous>(),
    Kind::of::<file_backed::PrivateFile>(),
    Kind::of::<shared_anonymous::SharedAnonymous>(),
    Kind::of::<attach::Attach>(),
    Kind::of::<uring_memory::UringMemory>(),
    Kind::of::<file_backed::SharedFile>(),
];

/// Returns the rows of all records of memory, for `inspect` and the documentation.
pub fn rows() -> impl Iterator<Item = Row> {
    [Row::of::<AddressSpace>(), Row::of::<MappedFiles>()]
        .into_iter()
        .chain(aspect::SPACE.iter().map(|entry| entry.row))
        .chain(KINDS.iter().map(|kind| kind.row))
        .chain(pages::rows())
        .chain(pathless::rows())
        .chain([Row::of::<sysv_shm::Segment>()])
}

/// Returns the mappings of a process and which of their contents an image holds, in order of
/// address.
///
/// # Errors
///
/// Returns an error if a record cannot be decoded.
pub fn contents(records: &[&Record]) -> Result<Vec<(Area, Content)>> {
    let mut all = Vec::new();
    for record in records {
        if let Some(kind) = kind_of(record) {
            let areas = (kind.areas)(record)?;
            all.extend(areas.into_iter().map(|area| (area, kind.content)));
        }
    }
    all.sort_unstable_by_key(|(area, _)| area.start);
    Ok(all)
}

/// Returns the records of this family, grouped by process.
#[must_use]
pub fn by_owner(records: &[Record]) -> BTreeMap<u32, Vec<&Record>> {
    let mut all = BTreeMap::<u32, Vec<&Record>>::new();
    for record in records {
        if record.tag >> 8 == AddressSpace::TAG >> 8 {
            all.entry(record.owner).or_default().push(record);
        }
    }
    all
}

fn kind_of(record: &Record) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.row.tag == record.tag)
}

/// Checks whether this machine has what the mappings of an image need.
///
/// # Errors
///
/// Returns an error if a record cannot be decoded, or `/proc/self` cannot be read.
pub fn conflicts(records: &[Record], refusals: &mut Refusals) -> Result<()> {
    let here = vdso::of_this_kernel()?;
    for (owner, mappings) in map_count::needed(records)? {
        map_count::conflicts(
            mappings,
            map_count::of_this_machine()?,
            owner as i32,
            refusals,
        );
    }
    for record in records {
        let task = record.owner as i32;
        match record.tag {
            AddressSpace::TAG => {
                AddressSpace::from_record(record)?
                    .program
                    .conflicts(task, refusals);
            }
            MappedFiles::TAG => MappedFiles::from_record(record)?.conflicts(task, refusals),
            Vdso::TAG => {
                let list = Mappings::<Vdso>::from_record(record)?.0;
                Vdso::conflicts(&list, here, task, refusals);
            }
            tag if tag == Mappings::<ShadowStack>::TAG => shadow_stack::conflicts(task, refusals),
            _ => aspect::conflicts(record, refusals)?,
        }
    }
    huge_pages::conflicts(records, refusals)?;
    sysv_shm::conflicts(records, refusals)
}
