// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The memory of a process: one file for each kind of mapping, one table of them.
//!
//! A process may have tens of thousands of mappings, so there is one record for each kind and
//! process, which holds all mappings of that kind ([`Mappings`]). The contents are apart, see
//! [`pages`](crate::pages).
//!
//! A restore builds an address space in four stages: everything is mapped (`MapMemory`), shared
//! memory that another process made is mapped (`ShareMemory`), the pages are read (`FillMemory`),
//! and what would be in the way of that (protections, locks, seals) comes at the end
//! (`SealMemory`).

pub mod address_space;
pub mod area;
pub mod hole;
pub mod layout;
pub mod mapped_file;
pub mod private_anonymous;
pub mod private_file;
pub mod refused;
pub mod shared_anonymous;
pub mod shared_file;
pub mod vdso;
pub mod vma;

use std::collections::BTreeMap;
use std::ops::Range;

use crust_image::Record;
use crust_sys::RemoteAddr;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::address_space::AddressSpace;
use self::area::Area;
use self::hole::Holes;
use self::layout::Layout;
use self::mapped_file::{MappedFile, MappedFiles};
use self::shared_anonymous::Objects;
use self::vdso::Vdso;
use self::vma::Vma;
use crate::capture::Capture;
use crate::object::{Row, State};
use crate::pages::{self, SharedMemory, StoredPages};
use crate::plan::{ProcessId, Step, scratch};
use crate::refusal::Refusals;
use crate::resolve::Resolve;
use crate::subject::FrozenProcess;
use crate::{Error, Result, parallel, procfs};

/// Which pages of a mapping an image has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// All that there are.
    Private,
    /// Those that are not the file's any more.
    Written,
    /// Those of the object behind it, which others may share.
    Object,
    /// None.
    Elsewhere,
}

/// A kind of mapping: what is behind a range of addresses.
pub trait MappingKind: Serialize + DeserializeOwned {
    /// Number in images, 0x021x; never reused, never renumbered.
    const TAG: u16;
    /// What it is called.
    const NAME: &'static str;
    /// One sentence for `docs/support.md`.
    const SUPPORT: &'static str;
    /// Which pages the image holds.
    const CONTENT: Content;

    /// Whether a mapping is of this kind. The kinds are asked in the order of the table.
    fn matches(vma: &Vma) -> bool;
    /// Its state, or `None` after a refusal.
    fn capture(vma: &Vma, found: &mut Found<'_>) -> Result<Option<Self>>;
    /// Its addresses.
    fn area(&self) -> &Area;
    /// Emits the steps that map all mappings of this kind of one process.
    fn plan(list: &[Self], layout: &mut Layout<'_>) -> Result<()>;
    /// One line for `inspect`.
    fn describe(&self) -> String;
}

/// All mappings of one kind of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "K: MappingKind")]
pub struct Mappings<K>(pub Vec<K>);

impl<K: MappingKind> State for Mappings<K> {
    const TAG: u16 = K::TAG;
    const NAME: &'static str = K::NAME;
    const SUPPORT: &'static str = K::SUPPORT;

    fn describe(&self) -> String {
        // One line for each.
        let lines: Vec<String> = self.0.iter().map(K::describe).collect();
        lines.join("\n")
    }
}

/// A row of the table: a kind without its type.
struct Kind {
    row: Row,
    content: Content,
    matches: fn(&Vma) -> bool,
    capture: fn(&[Vma], &mut Found<'_>) -> Result<Option<Record>>,
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

/// The table. A mapping is of the first kind that matches.
static KINDS: &[Kind] = &[
    Kind::of::<Vdso>(),
    Kind::of::<private_anonymous::PrivateAnonymous>(),
    Kind::of::<private_file::PrivateFile>(),
    Kind::of::<shared_anonymous::SharedAnonymous>(),
    Kind::of::<shared_file::SharedFile>(),
];

/// What `inspect` and the documentation know of memory.
pub fn rows() -> impl Iterator<Item = Row> {
    [Row::of::<AddressSpace>(), Row::of::<MappedFiles>()]
        .into_iter()
        .chain(KINDS.iter().map(|kind| kind.row))
        .chain(pages::rows())
}

/// A capture of one process's memory under way.
pub struct Found<'a> {
    /// The process.
    pub process: &'a FrozenProcess,
    /// What cannot be carried.
    pub refusals: &'a mut Refusals,
    files: MappedFiles,
    // By what `maps` says of a file; `None` was refused. The place in `files`.
    known: BTreeMap<(u64, u64, Vec<u8>), Option<u32>>,
}

impl Found<'_> {
    /// The place in [`MappedFiles`] of the file behind a mapping, or `None` after a refusal.
    ///
    /// # Errors
    ///
    /// Of looking at it in `/proc/PID/map_files`.
    pub fn file(&mut self, vma: &Vma, private: bool) -> Result<Option<u32>> {
        let key = (vma.device, vma.inode, vma.name.clone());
        let place = if let Some(place) = self.known.get(&key) {
            *place
        } else {
            let link = format!("map_files/{}", vma.entry());
            let place = match MappedFile::look(self.process, &link, &vma.name)? {
                Ok(file) => {
                    self.files.files.push((file, false));
                    Some(self.files.files.len() as u32 - 1)
                }
                Err(unreachable) => {
                    self.refusals.block(
                        self.process.pid,
                        vma.title(),
                        unreachable.why,
                        unreachable.remedy,
                    );
                    None
                }
            };
            self.known.insert(key, place);
            place
        };
        if let Some(place) = place {
            self.files.files[place as usize].1 |= private;
        }
        Ok(place)
    }

    /// Reads memory of the process.
    ///
    /// # Errors
    ///
    /// Of `process_vm_readv`.
    pub fn read_memory(&self, start: u64, bytes: &mut [u8]) -> Result<()> {
        let pid = self.process.pid;
        crust_sys::memory::read(pid, RemoteAddr(start), bytes)
            .map_err(|errno| Error::task(pid, format!("read memory at {start:x}"), errno))
    }
}

fn read_proc(process: &FrozenProcess, name: &str) -> Result<Vec<u8>> {
    procfs::read(&process.proc, process.pid, name)
}

/// The name between `prefix` and the closing bracket.
fn anonymous_name(name: &[u8], prefix: &[u8]) -> Option<Vec<u8>> {
    let name = name.strip_prefix(prefix)?.strip_suffix(b"]")?;
    Some(name.to_vec())
}

/// Captures the memory of all processes, without its contents.
///
/// # Errors
///
/// Of `/proc`, and of the hooks.
pub fn capture(capture: &mut Capture<'_>) -> Result<()> {
    let living = capture
        .tree
        .iter()
        .filter(|process| process.zombie.is_none());
    let living: Vec<&FrozenProcess> = living.collect();
    // The kernel looks at every page for it.
    let vmas = parallel::map(&living, 8, |process| {
        vma::parse(&read_proc(process, "smaps")?)
    });
    for (process, vmas) in living.into_iter().zip(vmas) {
        capture_process(process, vmas?, capture)?;
    }
    Ok(())
}

fn capture_process(
    process: &FrozenProcess,
    mut vmas: Vec<Vma>,
    capture: &mut Capture<'_>,
) -> Result<()> {
    // Every process has this page at the same place, in the kernel's half.
    vmas.retain(|vma| vma.name != b"[vsyscall]");

    let mut found = Found {
        process,
        refusals: &mut capture.refusals,
        files: MappedFiles::default(),
        known: BTreeMap::new(),
    };
    let space = AddressSpace::capture(&mut found, capture.hooks)?;
    address_space::untold(&vmas, &mut found);

    let mut of_kind: Vec<Vec<Vma>> = KINDS.iter().map(|_| Vec::new()).collect();
    for vma in vmas {
        let kind = KINDS.iter().position(|kind| (kind.matches)(&vma));
        match (refused::why(&vma), kind) {
            (None, Some(kind)) => of_kind[kind].push(vma),
            (Some((why, remedy)), _) => {
                found.refusals.block(process.pid, vma.title(), why, remedy);
            }
            (None, None) => found.refusals.block(
                process.pid,
                vma.title(),
                "memory of a kind that crust does not know",
                "report it with this message",
            ),
        }
    }
    let mut records = Vec::new();
    for (kind, vmas) in KINDS.iter().zip(&of_kind) {
        records.extend((kind.capture)(vmas, &mut found)?);
    }
    let files = found.files;
    for record in &records {
        if record.tag == Vdso::TAG {
            let list = Mappings::<Vdso>::from_record(record)?.0;
            let here = vdso::of_this_kernel()?;
            Vdso::moved_apart(&list, here, process.pid, &mut capture.refusals);
        }
    }
    if let Some(space) = space {
        capture.records.push(space.record(process.id.0, 0)?);
    }
    if !files.files.is_empty() {
        capture.records.push(files.record(process.id.0, 0)?);
    }
    capture.records.extend(records);
    Ok(())
}

/// The mappings of a process whose contents an image holds, in the order of their addresses.
///
/// # Errors
///
/// If a record cannot be decoded.
pub fn contents(records: &[Record], owner: u32) -> Result<Vec<(Area, Content)>> {
    let mut all = Vec::new();
    for record in records.iter().filter(|record| record.owner == owner) {
        if let Some(kind) = kind_of(record) {
            let areas = (kind.areas)(record)?;
            all.extend(areas.into_iter().map(|area| (area, kind.content)));
        }
    }
    all.sort_unstable_by_key(|(area, _)| area.start);
    Ok(all)
}

fn kind_of(record: &Record) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.row.tag == record.tag)
}

/// Looks whether this machine has what the mappings of an image need.
///
/// # Errors
///
/// If a record cannot be decoded, or `/proc/self` not be read.
pub fn conflicts(records: &[Record], refusals: &mut Refusals) -> Result<()> {
    let here = vdso::of_this_kernel()?;
    for record in records {
        let task = record.owner as i32;
        match record.tag {
            AddressSpace::TAG => {
                let exe = AddressSpace::from_record(record)?.exe;
                let files = vec![(exe, true)];
                MappedFiles { files }.conflicts(task, refusals);
            }
            MappedFiles::TAG => MappedFiles::from_record(record)?.conflicts(task, refusals),
            Vdso::TAG => {
                let list = Mappings::<Vdso>::from_record(record)?.0;
                Vdso::conflicts(&list, here, task, refusals);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Plans the memory of all processes, and where scratch memory goes.
///
/// [`Plan::reserved_fds`](crate::plan::Plan::reserved_fds) must be known.
///
/// # Errors
///
/// [`Error::Malformed`] if the records contradict each other.
pub fn plan(resolve: &mut Resolve<'_>) -> Result<()> {
    let records = resolve.records;
    let mut used = Vec::new();
    for record in records {
        if let Some(kind) = kind_of(record) {
            used.extend((kind.areas)(record)?.iter().map(Area::range));
        }
    }
    let mut holes = Holes::between(used);
    let start = holes
        .take(scratch::TOTAL)
        .ok_or_else(|| Error::malformed("address spaces", "no room is left for scratch memory"))?;
    resolve.plan.scratch = RemoteAddr(start);

    let mut objects = Objects::default();
    let mut filled: Vec<(ProcessId, Range<u64>, SharedMemory)> = Vec::new();
    for record in resolve.of_tag(SharedMemory::TAG) {
        let memory = SharedMemory::from_record(record)?;
        let owner = ProcessId(record.owner);
        let at = objects.add(&memory, owner, pid_of(resolve, owner)?, &mut holes)?;
        filled.push((owner, at, memory));
    }

    for record in records
        .iter()
        .filter(|record| record.tag == AddressSpace::TAG)
    {
        let space = AddressSpace::from_record(record)?;
        let owner = record.owner;
        let own = |tag| {
            records
                .iter()
                .find(move |record| record.tag == tag && record.owner == owner)
        };
        let files = own(MappedFiles::TAG).map(MappedFiles::from_record);
        let files = files.transpose()?.unwrap_or_default().files;
        let stored = own(StoredPages::TAG).map(StoredPages::from_record);
        let stored = stored.transpose()?;
        let task = ProcessId(owner).leader();

        let mut layout = Layout::begin(&mut resolve.plan, task, &files, stored.as_ref(), &objects);
        space.prepare(&mut layout);
        let mut areas = Vec::new();
        for kind in KINDS {
            if let Some(record) = own(kind.row.tag) {
                (kind.plan)(record, &mut layout)?;
                areas.extend((kind.areas)(record)?);
            }
        }
        if let Some(stored) = &stored {
            stored.fill(&mut layout);
        }
        for (owner, at, memory) in &filled {
            if *owner == task.process {
                memory.fill(at, &mut layout);
            }
        }
        objects.release(&mut layout);
        for area in &areas {
            area.settle(&mut layout);
        }
        space.settle(&mut layout);
        if let Some(stored) = &stored {
            stored.guard(&mut layout);
        }
        for area in &areas {
            area.lock(&mut layout);
        }
        for area in &areas {
            area.seal(&mut layout);
        }
        layout.end();
    }
    Ok(())
}

/// The pid that a process will have, as the plan says.
fn pid_of(resolve: &Resolve<'_>, process: ProcessId) -> Result<i32> {
    resolve
        .plan
        .stages
        .values()
        .flat_map(BTreeMap::values)
        .flatten()
        .find_map(|step| match step {
            Step::SpawnChild { child, pid, .. } if *child == process => pid.last().copied(),
            _ => None,
        })
        .ok_or_else(|| Error::malformed(process.to_string(), "the plan does not make it"))
}

#[cfg(test)]
mod tests {
    use super::private_anonymous::PrivateAnonymous;
    use super::shared_anonymous::SharedAnonymous;
    use super::vma::trait_bit as t;
    use super::*;
    use crate::hooks::Abilities;
    use crate::pages::Runs;
    use crate::plan::{Plan, Stage, TaskId};
    use crate::resolve::RestoreOptions;

    const PAGE: u64 = 4096;

    fn area(start: u64, pages: u64, traits: u64) -> Area {
        Area {
            start,
            length: pages * PAGE,
            traits,
        }
    }

    fn runs(range: Range<u64>) -> Runs {
        let mut runs = Runs::default();
        runs.push(range);
        runs
    }

    /// Two processes that share memory, the second at another address; the first has a locked heap
    /// that it may not write, and a reserved range.
    fn records() -> Vec<Record> {
        let heap = PrivateAnonymous {
            area: area(0x40_0000, 2, t::READ | t::LOCKED | t::DONT_FORK),
            name: Some(b"mine".to_vec()),
        };
        let reserved = PrivateAnonymous {
            area: area(0x80_0000, 1 << 28, t::NO_RESERVE),
            name: None,
        };
        let shared = |start| SharedAnonymous {
            area: area(start, 1, t::READ | t::WRITE | t::MAY_SHARE),
            object: 77,
            offset: PAGE,
            name: None,
        };
        let pages = StoredPages {
            offset: 0x1000,
            runs: runs(0x40_1000..0x40_2000),
            guards: runs(0x80_0000..0x80_1000),
        };
        let memory = SharedMemory {
            inode: 77,
            size: 4 * PAGE,
            no_reserve: false,
            offset: 0x2000,
            runs: runs(PAGE..2 * PAGE),
        };
        let space = AddressSpace::default();
        [
            space.record(0, 0),
            Mappings(vec![heap, reserved]).record(0, 0),
            Mappings(vec![shared(0x20_0000)]).record(0, 0),
            pages.record(0, 0),
            memory.record(0, 0),
            space.record(1, 0),
            Mappings(vec![shared(0x30_0000)]).record(1, 0),
        ]
        .into_iter()
        .collect::<Result<_>>()
        .unwrap()
    }

    fn planned(records: &[Record]) -> Result<Plan> {
        let mut resolve = Resolve {
            records,
            abilities: Abilities::default(),
            options: &RestoreOptions::default(),
            caller: (1, 1),
            plan: Plan {
                reserved_fds: 10,
                ..Plan::default()
            },
            refusals: Refusals::default(),
        };
        for (child, pid) in [(0, 500), (1, 501)] {
            let step = Step::SpawnChild {
                child: ProcessId(child),
                pid: vec![pid],
                exit_signal: 17,
            };
            let task = ProcessId(child).leader();
            resolve.plan.step(Stage::Spawn, task, step);
        }
        plan(&mut resolve)?;
        Ok(resolve.plan)
    }

    /// What the calls of a stage are for.
    fn calls(plan: &Plan, stage: Stage, task: TaskId) -> Vec<&str> {
        plan.stages[&stage][&task]
            .iter()
            .map(|step| match step {
                Step::Call(call) => &*call.what,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_plan_of_two_processes_that_share_memory() {
        let plan = planned(&records()).unwrap();
        let (first, second) = (ProcessId(0).leader(), ProcessId(1).leader());
        // The reserved range is where scratch memory would go.
        assert_eq!(plan.scratch, RemoteAddr(0x100_0080_0000));
        let shared = plan.scratch.0 + scratch::TOTAL.next_multiple_of(2 << 20);

        assert_eq!(
            calls(&plan, Stage::MapMemory, first),
            [
                "unmap the blank below scratch",
                "unmap the blank above scratch",
                "memory 400000-402000: map",
                "memory 400000-402000: advise",
                "memory 400000-402000: name",
                "memory 800000-10000800000: map",
                "make shared memory 77",
                "unmap where the vDSO was parked",
            ]
        );
        let Step::Call(map) = &plan.stages[&Stage::MapMemory][&first][2] else {
            panic!("no call");
        };
        // Pages have to be read into it, which its own protection does not allow.
        assert_eq!(map.args[2], (libc::PROT_READ | libc::PROT_WRITE).into());
        assert_eq!(
            calls(&plan, Stage::ShareMemory, first),
            ["memory 200000-201000: duplicate shared memory"]
        );
        assert_eq!(
            calls(&plan, Stage::ShareMemory, second),
            [
                "open shared memory 77",
                "memory 300000-301000: map",
                "close shared memory",
            ]
        );
        let Step::Call(open) = &plan.stages[&Stage::ShareMemory][&second][0] else {
            panic!("no call");
        };
        let path = format!("500/map_files/{shared:x}-{:x}", shared + 4 * PAGE);
        assert_eq!(open.args[1], crate::plan::Data::string(path).into());
        assert_eq!(
            calls(&plan, Stage::FillMemory, first),
            ["pages: read 4 KiB", "shared memory: read 4 KiB"]
        );
        assert_eq!(
            calls(&plan, Stage::SealMemory, first),
            [
                "unmap shared memory where it was made",
                "memory 400000-402000: protect",
                "open ",
                "program: number of the descriptor",
                "bounds, program and auxiliary vector",
                "close the program",
                "close the program",
                "memory 800000-801000: guard",
                "memory 400000-402000: lock",
            ]
        );
        assert_eq!(plan, planned(&records()).unwrap());
    }

    #[test]
    fn records_that_contradict_each_other_are_an_error() {
        let without = |tag| {
            let mut records = records();
            records.retain(|record| record.tag != tag);
            planned(&records)
        };
        assert!(without(SharedMemory::TAG).is_err());
        let mut twice = records();
        twice.push(twice[4].clone());
        assert!(planned(&twice).is_err());
    }

    /// The numbers are in images.
    #[test]
    fn traits_keep_their_bits() {
        assert_eq!(t::READ, 1);
        assert_eq!(t::LOCKED, 1 << 11);
        assert_eq!(t::DONT_FORK, 1 << 15);
        assert_eq!(t::HUGE_PAGE, 1 << 27);
        assert_eq!(t::SEALED, 1 << 36);
    }
}
