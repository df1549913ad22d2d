// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The contents of memory: which pages an image holds, where, and how they get there and back.
//!
//! A dump asks the kernel for the pages that exist (`PAGEMAP_SCAN`), gives each process one
//! stretch of the image for them, and copies; the stretch has the pages in the order of their
//! addresses and nothing between them, so a restore reads many runs of pages with one `preadv`
//! that the restored process itself makes: straight from the page cache into its memory.

mod copy;
mod cow;
mod fill;
mod runs;
mod scan;

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use crust_image::{Record, Writer};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use self::copy::{Job, Source};
use self::cow::CowCopy;
pub use self::runs::Runs;
use crate::object::mapping::shared_anonymous::SharedAnonymous;
use crate::object::mapping::vma::trait_bit;
use crate::object::mapping::{self, Content, MappingKind, Mappings};
use crate::object::task::settings::Settings;
use crate::object::{Row, State};
use crate::progress::Progress;
use crate::subject::FrozenProcess;
use crate::{Error, Result, procfs};

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

/// Writes the contents of all memory of a frozen tree, and returns the records that tell where
/// they are.
///
/// `records` are those that [`mapping::capture`] made for the processes of `tree`.
///
/// # Errors
///
/// If a process dies, or the image cannot be written.
pub fn write(
    records: &[Record],
    tree: &[FrozenProcess],
    image: &mut Writer,
    progress: &mut dyn Progress,
) -> Result<Vec<Record>> {
    let (written, parts) = gather(records, tree, image)?;
    let jobs: Vec<Job> = parts.into_iter().map(|part| part.job).collect();
    copy(&jobs, image, progress)?;
    Ok(written)
}

/// The contents of all memory of a tree at one moment, to be written while the tree runs on.
pub struct Snapshot {
    written: Vec<Record>,
    jobs: Vec<Job>,
    /// They live as long as they are read.
    copies: Vec<CowCopy>,
}

impl Snapshot {
    /// Takes it of a frozen tree, which may go on then. Memory that a fork would not copy (shared,
    /// `MADV_DONTFORK`, `MADV_WIPEONFORK`) is written to the image right away.
    ///
    /// Where a process may not fork, all is written right away, and a warning says so.
    ///
    /// # Errors
    ///
    /// If a process dies, or the image cannot be written.
    pub fn take(
        records: &[Record],
        tree: &[FrozenProcess],
        image: &mut Writer,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let (written, parts) = gather(records, tree, image)?;
        let orphans = !has_subreaper(records)?;
        let mut now = Vec::new();
        let mut later: BTreeMap<u32, Vec<Job>> = BTreeMap::new();
        for part in parts {
            match part.forked {
                Some(process) => later.entry(process).or_default().push(part.job),
                None => now.push(part.job),
            }
        }
        let mut snapshot = Self {
            written,
            jobs: Vec::new(),
            copies: Vec::new(),
        };
        for (process, jobs) in later {
            let process = &tree[process as usize];
            match CowCopy::of(process, orphans) {
                Ok(Some(copy)) => {
                    let source = Arc::new(copy.source()?);
                    let jobs = jobs.into_iter().map(|job| job.from(&source));
                    snapshot.jobs.extend(jobs);
                    snapshot.copies.push(copy);
                }
                Ok(None) => {
                    let pid = process.pid;
                    tracing::warn!(pid, "no copy can be made of it: it is stopped for longer");
                    now.extend(jobs);
                }
                Err(Error::Task {
                    errno: Errno::EAGAIN | Errno::ENOMEM | Errno::ENOSPC | Errno::EPERM,
                    operation,
                    ..
                }) => {
                    let pid = process.pid;
                    tracing::warn!(pid, operation, "cannot fork: it is stopped for longer");
                    now.extend(jobs);
                }
                Err(error) => return Err(error),
            }
        }
        copy(&now, image, progress)?;
        Ok(snapshot)
    }

    /// Writes what is left, and returns the records of all.
    ///
    /// # Errors
    ///
    /// If the image cannot be written.
    pub fn write(self, image: &mut Writer, progress: &mut dyn Progress) -> Result<Vec<Record>> {
        copy(&self.jobs, image, progress)?;
        drop(self.copies);
        Ok(self.written)
    }
}

/// A stretch of pages of one source.
struct Part {
    job: Job,
    /// The process, if its fork would have the same pages.
    forked: Option<u32>,
}

/// What has to be copied, with its place in the image, and the records about it.
fn gather(
    records: &[Record],
    tree: &[FrozenProcess],
    image: &mut Writer,
) -> Result<(Vec<Record>, Vec<Part>)> {
    let mut parts = Vec::new();
    let mut written = Vec::new();
    for (memory, owner, file) in shared_objects(records, tree)? {
        let offset = image.reserve_pages(memory.runs.bytes());
        let memory = SharedMemory { offset, ..memory };
        written.push(memory.record(owner, written.len() as u32)?);
        parts.push(Part {
            job: Job::new(Arc::new(Source::File(file)), memory.runs, offset),
            forked: None,
        });
    }
    for process in tree.iter().filter(|process| process.zombie.is_none()) {
        let areas = mapping::contents(records, process.id.0)?;
        let (runs, guards) = scan::private_pages(process, &areas)?;
        let offset = image.reserve_pages(runs.bytes());
        let pages = StoredPages {
            offset,
            runs,
            guards,
        };
        written.push(pages.record(process.id.0, 0)?);
        let not_forked: Vec<_> = areas
            .iter()
            .filter(|(area, _)| area.is_any(trait_bit::DONT_FORK | trait_bit::WIPE_ON_FORK))
            .map(|(area, _)| area.range())
            .collect();
        let source = Arc::new(Source::task(process)?);
        for (before, excepted, runs) in pages.runs.split(&not_forked) {
            parts.push(Part {
                job: Job::new(Arc::clone(&source), runs, offset + before),
                forked: (!excepted).then_some(process.id.0),
            });
        }
    }
    Ok((written, parts))
}

fn copy(jobs: &[Job], image: &mut Writer, progress: &mut dyn Progress) -> Result<()> {
    for (offset, length, checksum) in copy::copy(jobs, image.file(), progress)? {
        image.sum_pages(offset, length, checksum);
    }
    Ok(())
}

/// Whether a process of the tree adopts orphans, and would find one that it does not know of.
fn has_subreaper(records: &[Record]) -> Result<bool> {
    for record in records.iter().filter(|record| record.tag == Settings::TAG) {
        if Settings::from_record(record)?.subreaper {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The objects of shared memory, each with its first process and opened; without their offsets.
fn shared_objects(
    records: &[Record],
    tree: &[FrozenProcess],
) -> Result<Vec<(SharedMemory, u32, File)>> {
    let mut objects: BTreeMap<u64, (SharedMemory, u32, File)> = BTreeMap::new();
    for process in tree {
        let owner = process.id.0;
        let of_process = records
            .iter()
            .filter(|record| record.tag == SharedAnonymous::TAG && record.owner == owner);
        for record in of_process {
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
