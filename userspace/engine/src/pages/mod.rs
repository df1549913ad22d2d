// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The contents of memory: which pages an image holds, where, and how they get there and back.
//!
//! A dump asks the kernel for the pages that exist (`PAGEMAP_SCAN`), gives each process one
//! stretch of the image for them, and copies ([`Snapshot`]); the stretch has the pages in the order of their
//! addresses and nothing between them, so a restore reads many runs of pages with one `preadv`
//! that the restored process itself makes: straight from the page cache into its memory.

mod copy;
mod cow;
mod fill;
mod runs;
mod scan;
mod scribe;
mod snapshot;

use std::collections::BTreeMap;
use std::fs::File;

use serde::{Deserialize, Serialize};

pub use self::runs::Runs;
pub use self::snapshot::Snapshot;
use crate::object::mapping::shared_anonymous::SharedAnonymous;
use crate::object::mapping::vma::trait_bit;
use crate::object::mapping::{Content, MappingKind, Mappings};
use crate::object::{Index, Row, State};
use crate::subject::FrozenProcess;
use crate::{Result, procfs};

/// The private pages of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPages {
    /// Where in the image the first one is; the others follow without a gap.
    pub offset: u64,
    /// Their addresses.
    pub runs: Runs,
    /// Addresses that fault whatever the protection (`MADV_GUARD_INSTALL`).
    pub guards: Runs,
}

impl State for StoredPages {
    const TAG: u16 = 0x0220;
    const NAME: &'static str = "pages";
    const SUPPORT: &'static str =
        "All private pages that differ from zeros or from the file; guard pages.";

    fn describe(&self) -> String {
        format!(
            "{} KiB in {} runs at {:#x}",
            self.runs.bytes() >> 10,
            self.runs.ranges().len(),
            self.offset
        )
    }
}

/// An object of shared anonymous memory. Its owner is the first process that has it mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedMemory {
    /// Its inode, by which mappings refer to it.
    pub inode: u64,
    /// Its size in bytes, which may be more than is mapped.
    pub size: u64,
    /// Made with `MAP_NORESERVE`.
    pub no_reserve: bool,
    /// Where in the image the first page is.
    pub offset: u64,
    /// Where in the object the pages belong.
    pub runs: Runs,
}

impl State for SharedMemory {
    const TAG: u16 = 0x0221;
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
}

/// What `inspect` and the documentation know of pages.
pub fn rows() -> impl Iterator<Item = Row> {
    [Row::of::<StoredPages>(), Row::of::<SharedMemory>()].into_iter()
}

/// The objects of shared memory, each with its first process and opened; without their offsets.
fn shared_objects(
    records: &Index<'_>,
    tree: &[FrozenProcess],
) -> Result<Vec<(SharedMemory, u32, File)>> {
    let mut objects: BTreeMap<u64, (SharedMemory, u32, File)> = BTreeMap::new();
    for process in tree {
        let owner = process.id.0;
        if let Some(record) = records.get(SharedAnonymous::TAG, owner) {
            for mapping in Mappings::<SharedAnonymous>::from_record(record)?.0 {
                let no_reserve = mapping.area.is(trait_bit::NO_RESERVE);
                if let Some((memory, ..)) = objects.get_mut(&mapping.object) {
                    memory.no_reserve |= no_reserve;
                    continue;
                }
                let range = mapping.area.range();
                let name = format!("map_files/{:x}-{:x}", range.start, range.end);
                let file = File::from(procfs::open(&process.proc, process.pid, &name)?);
                let (size, runs) = scan::shared_pages(&file, process.pid)?;
                let memory = SharedMemory {
                    inode: mapping.object,
                    size,
                    no_reserve,
                    offset: 0,
                    runs,
                };
                objects.insert(mapping.object, (memory, owner, file));
            }
        }
    }
    Ok(objects.into_values().collect())
}

/// Whether pages of such a mapping are looked for in the page tables, and which ones count.
fn is_scanned(content: Content) -> bool {
    matches!(content, Content::Private | Content::Written)
}
