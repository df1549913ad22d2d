// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Plans how address spaces are rebuilt: the order of the steps of one, and what several share.

use std::collections::BTreeMap;
use std::ops::Range;

use crust_image::PAGE_SIZE;
use crust_model::image::Image;
use crust_model::object::Owner;
use crust_model::plan::{ProcessId, scratch};
use crust_model::{Error, Result};
use crust_sys::RemoteAddr;

use super::address_space::AddressSpace;
use super::area::Area;
use super::aspect::{self, Moment};
use super::backed::Backed;
use super::fork_groups::{ForkGroups, Member};
use super::forkable_range::forkable_ranges;
use super::layout::{Common, Layout};
use super::mapped_file::MappedFiles;
use super::shadow_stack::{self, ShadowStack};
use super::uring_memory::{self, UringMemory};
use super::{MappingRole, Mappings};
use crate::file::uring::rings::Rings;
use crate::kind::Kinds;
use crate::memory::pages::{SharedMemory, StoredPages};
use crate::memory::segments::Segments;
use crate::plan_context::PlanCx;
use crate::ranges::holes::Holes;
use crate::task::limits::Limits;
use crate::task::tree;
use crate::task::tree::creators::Creators;

/// Plans the memory of all processes, and the place of scratch memory.
///
/// [`Plan::reserved_fds`](crust_model::plan::Plan::reserved_fds) must be known.
///
/// # Errors
///
/// Returns [`Error::Malformed`] if the records contradict each other.
pub(super) fn plan(kinds: Kinds, cx: &mut PlanCx<'_>) -> Result<()> {
    let image = cx.image;
    for (tag, _) in kinds.of_role::<MappingRole>() {
        image
            .of_tag(tag)
            .try_for_each(|(owner, _)| has_space(image, owner))?;
    }
    let mut stored = image.all::<StoredPages>();
    stored.try_for_each(|(owner, _)| has_space(image, owner))?;
    let mut used = Vec::new();
    for (owner, _) in image.all::<AddressSpace>() {
        used.extend(ranges(kinds, image, owner.process())?);
    }
    let mut holes = Holes::between(used);
    let start = holes
        .take(scratch::TOTAL)
        .ok_or_else(|| Error::malformed("address spaces", "no room is left for scratch memory"))?;
    cx.plan.scratch = RemoteAddr(start);

    let mut common = Common::default();
    let mut filled: BTreeMap<ProcessId, Vec<(Range<u64>, &SharedMemory)>> = BTreeMap::new();
    for (owner, memory) in image.all::<SharedMemory>() {
        let owner = owner.process();
        let pid = Creators::noted(cx)?.pid(owner)?;
        let at = common.objects.add(memory, owner, pid, &mut holes)?;
        filled.entry(owner).or_default().push((at, memory));
    }

    common.backed = Backed::of(kinds, image, cx.plan.reserved_fds, &mut holes)?;
    common.segments = Segments::of(image, &mut holes)?;

    let rings = Rings::of(image);

    let fork_groups = fork_groups(cx)?;
    fork_groups.plan(&mut cx.plan);

    for (owner, space) in image.all::<AddressSpace>() {
        let process = owner.process();
        let files = image.get::<MappedFiles>(process);
        let files = files.map_or(&[][..], |files| &files.files);
        let stored = image.get::<StoredPages>(process);
        let task = process.leader();
        let kept = fork_groups.kept(process);

        let plan = &mut cx.plan;
        let mut layout = Layout::begin(plan, task, files, stored, &common, kept);
        if let Some(Mappings(list)) = image.get::<Mappings<UringMemory>>(process) {
            uring_memory::place(list, &rings, &mut layout)?;
        }
        fork_groups.forget(process, &mut layout);
        space.prepare(&mut layout)?;
        aspect::plan(kinds, image, Moment::Empty, &mut layout);
        common.backed.map(&mut layout);
        common.segments.make(&mut layout);
        let mut areas = Vec::new();
        for (role, mappings) in super::of_process(kinds, image, process) {
            (role.plan)(mappings, &mut layout)?;
            areas.extend((role.areas)(mappings));
        }
        aspect::plan(kinds, image, Moment::Mapped, &mut layout);
        fork_groups.fill(process, &mut layout)?;
        for (at, memory) in filled.get(&task.process).into_iter().flatten() {
            memory.fill(at, &mut layout);
        }
        common.backed.fill(&mut layout);
        common.segments.fill(&mut layout);
        common.objects.release(&mut layout);
        common.backed.release(&mut layout);
        common.segments.release(&mut layout);
        for area in &areas {
            area.settle(&mut layout);
        }
        space.settle(&mut layout);
        if let Some(stored) = stored {
            stored.guard(&mut layout);
        }
        for area in &areas {
            area.lock(&mut layout);
        }
        aspect::plan(kinds, image, Moment::Filled, &mut layout);
        for area in &areas {
            area.seal(&mut layout);
        }
        if let Some(Mappings(stacks)) = image.get::<Mappings<ShadowStack>>(process) {
            let hard = Limits::hard(image, process, libc::RLIMIT_STACK);
            shadow_stack::make(stacks, &areas, hard, &mut layout);
        }
        layout.end();
    }
    Ok(())
}

/// Checks that the owner of mappings or pages has an address space: others would not be planned, nor their ranges kept
/// free.
fn has_space(image: &Image, owner: Owner) -> Result<()> {
    match image.get::<AddressSpace>(owner.process()) {
        Some(_) => Ok(()),
        None => Err(Error::malformed(
            owner.process().to_string(),
            "it has memory, and no address space",
        )),
    }
}

/// Returns the fork groups: which processes share pages with their parents.
fn fork_groups(cx: &PlanCx<'_>) -> Result<ForkGroups> {
    let parents: Vec<Option<u32>> = tree::members(cx.image)?
        .into_iter()
        .map(|member| member.parent)
        .collect();
    let creators = Creators::noted(cx)?;
    let mut members = BTreeMap::new();
    for (owner, stored) in cx.image.all::<StoredPages>() {
        let id = owner.process();
        let parent = parents.get(owner.number as usize).copied().flatten();
        let parent = parent.map(ProcessId);
        let member = Member {
            parent,
            inherits: creators.copy_of(id)? == parent,
            forkable_ranges: forkable_ranges(cx.image, id)?,
            stored: stored.clone(),
        };
        members.insert(id, member);
    }
    Ok(ForkGroups::of(members))
}

/// Returns the address ranges of all mappings of a process, in ascending order.
///
/// # Errors
///
/// [`Error::Malformed`] if one is not of whole pages, or if two overlap: no address space is like that.
fn ranges(kinds: Kinds, image: &Image, process: ProcessId) -> Result<Vec<Range<u64>>> {
    let mut all: Vec<Range<u64>> = Vec::new();
    for (role, mappings) in super::of_process(kinds, image, process) {
        for Area { start, length, .. } in (role.areas)(mappings) {
            let end = start.checked_add(length).filter(|end| *end > start);
            let end = end.filter(|end| (start | end) % PAGE_SIZE == 0);
            let end = end.ok_or_else(|| {
                let problem = format!("{length:#x} bytes at {start:#x} are no range of pages");
                Error::malformed(format!("the memory of {process}"), problem)
            })?;
            all.push(start..end);
        }
    }
    all.sort_unstable_by_key(|range| range.start);
    match all.windows(2).find(|two| two[1].start < two[0].end) {
        Some(two) => Err(Error::malformed(
            format!("the memory of {process}"),
            format!("{:x?} overlaps {:x?}", two[0], two[1]),
        )),
        None => Ok(all),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use crust_hooks::KernelFeatures;
    use crust_image::Record;
    use crust_model::object::State;
    use crust_model::plan::{Plan, Stage, Step, TaskId};
    use crust_model::refusal::Refusals;
    use crust_proc::smaps::vm_flag as t;

    use super::*;
    use crate::contents::Runs;
    use crate::memory::private_anonymous::PrivateAnonymous;
    use crate::memory::shared_anonymous::SharedAnonymous;
    use crate::plan_context::RestoreOptions;
    use crate::registry::KINDS;
    use crate::task::tree::creators::NewProcess;

    const PAGE: u64 = 4096;

    fn area(start: u64, pages: u64, vm_flags: u64) -> Area {
        Area {
            start,
            length: pages * PAGE,
            vm_flags,
        }
    }

    fn runs(range: Range<u64>) -> Runs {
        let mut runs = Runs::default();
        runs.push(range);
        runs
    }

    /// Returns the records of two processes that share memory, the second at another address; the
    /// first has a locked heap that it may not write, and a reserved range.
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
            huge: 0,
            offset: PAGE,
            name: None,
        };
        let pages = StoredPages {
            offset: 0x1000,
            runs: runs(0x40_1000..0x40_2000),
            guards: runs(0x80_0000..0x80_1000),
            ..StoredPages::default()
        };
        let memory = SharedMemory {
            inode: 77,
            huge: 0,
            size: 4 * PAGE,
            no_reserve: false,
            offset: 0x2000,
            runs: runs(PAGE..2 * PAGE),
        };
        let space = AddressSpace::default();
        [
            space.record((0, 0)),
            Mappings(vec![heap, reserved]).record((0, 0)),
            Mappings(vec![shared(0x20_0000)]).record((0, 0)),
            pages.record((0, 0)),
            memory.record((0, 0)),
            space.record((1, 0)),
            Mappings(vec![shared(0x30_0000)]).record((1, 0)),
        ]
        .into_iter()
        .collect::<Result<_>>()
        .unwrap()
    }

    pub(crate) fn planned(records: &[Record]) -> Result<Plan> {
        let options = RestoreOptions::default();
        let image = KINDS.decode(records, &mut Refusals::default())?;
        let mut cx = PlanCx::new(&image, KernelFeatures::default(), &options, (1, 1));
        cx.plan.reserved_fds = 10;
        for (id, pid) in [(0, 500), (1, 501)] {
            let new = NewProcess {
                id: ProcessId(id),
                pid: Some(pid),
                exit_signal: libc::SIGCHLD,
                flags: 0,
                stands_in: false,
            };
            match id {
                0 => new.create_root(&mut cx),
                _ => new.create_by(ProcessId(0), Stage::Spawn, &mut cx),
            }
        }
        plan(KINDS, &mut cx)?;
        Ok(cx.plan)
    }

    /// Returns the purpose of each call of a stage.
    pub(crate) fn calls(plan: &Plan, stage: Stage, task: TaskId) -> Vec<String> {
        plan.stages()[&stage][&task]
            .iter()
            .map(|step| match step {
                Step::Call(call) => call.label.clone(),
                Step::Fill(fill) => fill.describe(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_plan_of_two_processes_that_share_memory() {
        let plan = planned(&records()).unwrap();
        let (first, second) = (ProcessId(0).leader(), ProcessId(1).leader());
        // The reserved range is where scratch memory would otherwise go.
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
        let Step::Call(map) = &plan.stages()[&Stage::MapMemory][&first][2] else {
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
        let Step::Call(open) = &plan.stages()[&Stage::ShareMemory][&second][0] else {
            panic!("no call");
        };
        let path = format!("500/map_files/{shared:x}-{:x}", shared + 4 * PAGE);
        assert_eq!(open.args[1], crust_model::plan::Data::string(path).into());
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
        let without = |tag| -> Result<Plan> {
            let mut records = records();
            records.retain(|record| record.tag != tag);
            planned(&records)
        };
        assert!(without(SharedMemory::TAG).is_err());
        let mut records_of_another = records();
        let pages = StoredPages::default().record(ProcessId(2)).unwrap();
        records_of_another.push(pages);
        let error = planned(&records_of_another).unwrap_err().to_string();
        assert!(error.contains("no address space"), "{error}");
        let space = AddressSpace::default().record(ProcessId(2)).unwrap();
        records_of_another.push(space);
        let error = planned(&records_of_another).unwrap_err().to_string();
        assert!(error.contains("the plan does not make it"), "{error}");
        let mut twice = records();
        twice.push(twice[4].clone());
        assert!(planned(&twice).is_err());

        let heap = |start, length| PrivateAnonymous {
            area: Area {
                start,
                length,
                ..Area::default()
            },
            ..PrivateAnonymous::default()
        };
        for (second, problem) in [
            (heap(0x2_0000, 0x1000), "overlaps"),
            (heap(0x4_0001, 0x1000), "no range of pages"),
            (heap(0x4_0000, u64::MAX), "no range of pages"),
        ] {
            let mappings = Mappings(vec![heap(0x2_0000, 0x2000), second]);
            let records = [
                AddressSpace::default().record((0, 0)),
                mappings.record((0, 0)),
            ];
            let records: Vec<_> = records.into_iter().collect::<Result<_>>().unwrap();
            let error = planned(&records).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    /// The flags are stored in images, so their values must not change.
    #[test]
    fn traits_keep_their_bits() {
        assert_eq!(t::READ, 1);
        assert_eq!(t::LOCKED, 1 << 11);
        assert_eq!(t::DONT_FORK, 1 << 15);
        assert_eq!(t::HUGE_PAGE, 1 << 27);
        assert_eq!(t::SEALED, 1 << 36);
    }
}
