// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The memory of a process: one file for each kind of mapping.
//!
//! A setting of the address space as a whole, or of mappings of any kind, is an
//! [aspect](aspect::SpaceAspect) of it.
//!
//! A process may have tens of thousands of mappings, so there is one record for each kind and
//! process, which holds all mappings of that kind ([`Mappings`]). The contents are stored
//! separately, see [`pages`].
//!
//! Pages that processes share since a fork are there before they are created (`InheritedMemory`). All
//! else follows in four stages: everything is mapped (`MapMemory`), shared memory that another
//! process made is mapped (`ShareMemory`), the pages are read (`FillMemory`), and what would interfere
//! with that (protections, locks, seals) is set at the end (`SealMemory`).

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

use crust_model::Result;
use crust_model::image::Image;
use crust_model::object::{Object, State};
use crust_model::plan::ProcessId;
use crust_proc::smaps::Vma;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::area::Area;
pub use self::capture::MemoryCapture;
use self::layout::Layout;
use crate::conflicts::Conflicts;
use crate::kind::{Kind, Kinds, Role, Source};

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
pub trait MappingKind: Serialize + DeserializeOwned + 'static {
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
    /// Notes what this machine lacks for the mappings of this kind: see [`Kind::conflicts`].
    fn conflicts(_kinds: Kinds, _cx: &mut Conflicts<'_>) -> Result<()> {
        Ok(())
    }
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

impl<K: MappingKind> Kind for Mappings<K> {
    type Source = OfMapping;
}

/// The source of the kinds of mappings. A mapping is of the first kind in the table that matches.
#[derive(Clone, Copy, Debug)]
pub struct OfMapping;

/// How the mappings of a kind are captured and planned.
struct MappingRole {
    content: Content,
    matches: fn(&Vma) -> bool,
    capture: fn(&[Vma], &mut MemoryCapture<'_>, &mut Image) -> Result<()>,
    areas: fn(&dyn Object) -> Vec<Area>,
    plan: fn(&dyn Object, &mut Layout<'_>) -> Result<()>,
}

impl<K: MappingKind> Source<Mappings<K>> for OfMapping {
    const ROLE: Role = &MappingRole {
        content: K::CONTENT,
        matches: K::matches,
        capture: |vmas, found, image| {
            let mut list = Vec::with_capacity(vmas.len());
            for vma in vmas {
                list.extend(K::capture(vma, found)?);
            }
            match list.is_empty() {
                true => Ok(()),
                false => image.add(found.process.id, Mappings(list)),
            }
        },
        areas: |object| {
            let list = list_of::<K>(object).iter();
            list.map(|kind| kind.area().clone()).collect()
        },
        plan: |object, layout| K::plan(list_of(object), layout),
    };

    fn conflicts(kinds: Kinds, cx: &mut Conflicts<'_>) -> Result<()> {
        K::conflicts(kinds, cx)
    }
}

fn list_of<K: MappingKind>(object: &dyn Object) -> &[K] {
    let list = object.as_any().downcast_ref::<Mappings<K>>();
    list.map_or(&[], |list| &list.0)
}

/// Returns the mappings of one process, for each kind in the order of the table.
fn of_process(
    kinds: Kinds,
    image: &Image,
    process: ProcessId,
) -> impl Iterator<Item = (&'static MappingRole, &dyn Object)> {
    let all = kinds.of_role::<MappingRole>();
    all.filter_map(move |(tag, role)| Some((role, image.object(tag, process)?)))
}

/// Returns the mappings of a process and which of their contents an image holds, in order of
/// address.
#[must_use]
pub fn contents(kinds: Kinds, image: &Image, process: ProcessId) -> Vec<(Area, Content)> {
    let mut all = Vec::new();
    for (role, object) in of_process(kinds, image, process) {
        let areas = (role.areas)(object).into_iter();
        all.extend(areas.map(|area| (area, role.content)));
    }
    all.sort_unstable_by_key(|(area, _)| area.start);
    all
}
