// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The contents of memory: which pages an image holds, where they are, and how they are written and
//! read back.
//!
//! A dump asks the kernel for the pages that exist (`PAGEMAP_SCAN`), reserves one stretch of the image for each
//! process, and copies the pages there ([`Snapshot`]). A stretch has the pages in order of address without gaps, so a
//! restore reads many runs of pages with one `preadv` that the restored process itself makes: straight from the page
//! cache into its memory.

pub mod copy;
pub mod cow;
pub mod fill;
pub mod fork_writer;
pub mod scan;
pub mod shared_pages;
pub mod snapshot;

use std::collections::BTreeMap;
use std::fs::File;

use crust_image::PAGE_SIZE;
use crust_model::image::{Image, Owned};
use crust_model::object::{Extent, State, decode, other_version};
use crust_model::words::count;
use crust_model::{Error, Result};
use crust_proc::smaps::vm_flag;
use crust_tracee::frozen_process::FrozenProcess;
use serde::{Deserialize, Serialize};

pub use self::scan::present;
pub use self::snapshot::Snapshot;
pub use crate::contents::{PageJob, Runs};
use crate::kind::{Kind, OfTree, TreeKind};
use crate::memory::shared_anonymous::SharedAnonymous;
use crate::memory::{Content, Mappings};
use crate::pathless::data;

/// The private pages of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPages {
    /// The offset in the image of the first page; the others follow without a gap.
    pub offset: u64,
    /// The addresses of the pages.
    pub runs: Runs,
    /// Addresses that fault whatever the protection (`MADV_GUARD_INSTALL`).
    pub guards: Runs,
    /// Pages that the process still shares with its parent, or that the parent holds for it: they
    /// are stored with the parent, or with the process that the parent has inherited them from.
    pub inherited: Runs,
    /// Pages that children share and the process itself no longer has; they follow its own pages.
    pub held_for_children: Runs,
}

impl State for StoredPages {
    const TAG: u16 = 0x0220;
    const VERSION: u16 = 2;
    const NAME: &'static str = "pages";
    const SUPPORT: &'static str = "All private pages that differ from zeros or from the file, those that processes share since \
         a fork once, and shared again after the restore; guard pages.";

    fn describe(&self) -> String {
        format!(
            "{} KiB in {} at {:#x}, {} KiB shared with its parent, {} KiB held for children",
            self.runs.bytes() >> 10,
            count(self.runs.ranges().len() as u64, "run", "runs"),
            self.offset,
            self.inherited.bytes() >> 10,
            self.held_for_children.bytes() >> 10
        )
    }

    fn extents(&self) -> Vec<Extent> {
        vec![Extent {
            offset: self.offset,
            bytes: self
                .runs
                .bytes()
                .saturating_add(self.held_for_children.bytes()),
        }]
    }

    fn upgrade(version: u16, body: &[u8]) -> Result<Self> {
        match version {
            1 => {
                // What processes share was stored with each of them.
                let (offset, runs, guards) = decode(Self::NAME, body)?;
                Ok(Self {
                    offset,
                    runs,
                    guards,
                    ..Self::default()
                })
            }
            _ => Err(other_version::<Self>(version)),
        }
    }
}

impl StoredPages {
    /// Returns the offset in the image of the pages held for children.
    fn held_at(&self) -> u64 {
        self.offset + self.runs.bytes()
    }
}

/// An object of shared anonymous memory. Its owner is the first process that has it mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedMemory {
    /// The inode of the object, by which mappings refer to it.
    pub inode: u64,
    /// The size of the pages as a power of two if they are huge; otherwise 0.
    #[serde(deserialize_with = "crate::contents::huge_shift")]
    pub huge: u8,
    /// The size in bytes, which may be more than is mapped.
    pub size: u64,
    /// Whether it was made with `MAP_NORESERVE`.
    pub no_reserve: bool,
    /// The offset in the image of the first page.
    pub offset: u64,
    /// The offsets in the object of the pages.
    pub runs: Runs,
}

impl State for SharedMemory {
    const TAG: u16 = 0x0221;
    const VERSION: u16 = 2;
    const NAME: &'static str = "shared memory";
    const SUPPORT: &'static str =
        "The contents of shared anonymous memory, once for all processes.";

    fn describe(&self) -> String {
        format!(
            "object {}: {} KiB of {} KiB at {:#x}",
            self.inode,
            self.runs.bytes() >> 10,
            self.size >> 10,
            self.offset
        )
    }

    fn extents(&self) -> Vec<Extent> {
        vec![Extent {
            offset: self.offset,
            bytes: self.runs.bytes(),
        }]
    }

    fn upgrade(version: u16, body: &[u8]) -> Result<Self> {
        match version {
            1 => {
                // Huge pages were refused.
                let (inode, size, no_reserve, offset, runs) = decode(Self::NAME, body)?;
                Ok(Self {
                    inode,
                    huge: 0,
                    size,
                    no_reserve,
                    offset,
                    runs,
                })
            }
            _ => Err(other_version::<Self>(version)),
        }
    }
}

impl Kind for StoredPages {
    type Source = OfTree;
}

/// They are captured by a [`Snapshot`], when everything else is, and planned with the address spaces.
impl TreeKind for StoredPages {}

impl Kind for SharedMemory {
    type Source = OfTree;
}

/// It is captured by a [`Snapshot`], when everything else is, and planned with the address spaces.
impl TreeKind for SharedMemory {}

/// Returns the objects of shared memory of a captured tree, without their contents.
///
/// # Errors
///
/// Fails if a process dies.
pub fn shared_memory(image: &Image, tree: &[FrozenProcess]) -> Result<Vec<Owned>> {
    let objects = (0..).zip(shared_objects(image, tree)?);
    Ok(objects
        .map(|(part, (memory, owner, _))| Owned::new((owner, part), memory))
        .collect())
}

/// Returns the objects of shared memory, each opened and with its first process; their offsets are
/// not set.
fn shared_objects(image: &Image, tree: &[FrozenProcess]) -> Result<Vec<(SharedMemory, u32, File)>> {
    let mut objects: BTreeMap<(u8, u64), (SharedMemory, u32, File)> = BTreeMap::new();
    // Go in the order of the tree, so that the owner is the first process that has an object.
    for (owner, Mappings(list)) in image.all::<Mappings<SharedAnonymous>>() {
        let owner = owner.number;
        let process = &tree[owner as usize];
        for mapping in list {
            let no_reserve = mapping.area.is(vm_flag::NO_RESERVE);
            let key = (mapping.huge, mapping.object);
            if let Some((memory, ..)) = objects.get_mut(&key) {
                memory.no_reserve |= no_reserve;
                continue;
            }
            let range = mapping.area.range();
            let name = format!("map_files/{:x}-{:x}", range.start, range.end);
            let file = File::from(crust_proc::open(&process.proc, process.pid, &name)?);
            let what = "look for pages of shared memory";
            let contents =
                data::contents(&file).map_err(|errno| Error::task(process.pid, what, errno))?;
            let memory = SharedMemory {
                inode: mapping.object,
                huge: mapping.huge,
                size: contents.size.next_multiple_of(PAGE_SIZE),
                no_reserve,
                offset: 0,
                runs: contents.runs,
            };
            objects.insert(key, (memory, owner, file));
        }
    }
    Ok(objects.into_values().collect())
}

/// Returns whether the pages of a mapping with such contents are looked up in the page tables.
fn is_scanned(content: Content) -> bool {
    matches!(content, Content::Private | Content::Written)
}
