// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Private memory that children inherit from their parents, so that they share its pages
//! copy-on-write as they did before the dump.
//!
//! A page can only be shared by a `fork`. So processes that share pages, a *fork group*, get the memory concerned
//! before they make each other. The first member maps it, in *regions* that are large enough for all of them. Each
//! member puts the pages there that its children are to have, and then makes its children. Later each one unmaps those
//! parts of the regions that are not its own, discards pages that only others have, and reads its own.
//!
//! Regions are mapped rather than what each process has itself, because an inherited mapping does not merge with its
//! neighbour any more (mm/vma.c:is_mergeable_anon_vma), and a program that has one mapping must not get two.

use std::collections::BTreeMap;
use std::ops::Range;

use crust_model::plan::{Arg, Call, Plan, ProcessId, Stage, Step, TaskId};
use crust_model::{Error, Result};

use super::forkable_range::ForkableRange;
use super::layout::{Layout, open_call, unmap_others};
use crate::memory::pages::{Runs, StoredPages};

/// The memory of a process and its place among its relatives.
pub struct Member {
    /// The parent, from which the process had inherited pages.
    pub parent: Option<ProcessId>,
    /// Whether the process is made by its parent, and so can inherit the pages again. Otherwise another process has to
    /// stand in for the parent.
    pub inherits: bool,
    /// The private memory of the process.
    pub forkable_ranges: Vec<ForkableRange>,
    /// The stored pages of the process.
    pub stored: StoredPages,
}

/// The processes that share pages, and the regions that they share.
#[derive(Default)]
pub struct ForkGroups {
    members: BTreeMap<ProcessId, Member>,
    shares: BTreeMap<ProcessId, Share>,
    /// The regions of each fork group, keyed by its first member.
    regions: BTreeMap<ProcessId, Vec<ForkableRange>>,
}

/// The part that a member of a fork group has in the regions.
#[derive(Default)]
struct Share {
    /// The first member of the fork group.
    fork_group: ProcessId,
    /// The mappings of this member that are parts of regions.
    kept: Vec<Range<u64>>,
    /// The pages of this member that its children are to have.
    given: Runs,
    /// The pages that this member holds only for its children.
    held_for_children: Runs,
    /// The pages that are in the regions when the children are made.
    there: Runs,
}

impl ForkGroups {
    /// Finds the fork groups among the processes.
    #[must_use]
    pub fn of(members: BTreeMap<ProcessId, Member>) -> Self {
        let mut fork_groups = Self {
            members,
            ..Self::default()
        };
        fork_groups.fork_groups();
        fork_groups.settle_regions();
        fork_groups.settle_pages();
        fork_groups
    }

    fn fork_groups(&mut self) {
        let mut gives = BTreeMap::new();
        for member in self.members.values() {
            if let Some(parent) = member.cow_parent() {
                let given: &mut Runs = gives.entry(parent).or_default();
                *given = given.or(&member.stored.inherited);
            }
        }
        for (&id, member) in &self.members {
            let parent = member.cow_parent();
            let fork_group = match parent.and_then(|parent| self.shares.get(&parent)) {
                Some(parent) => parent.fork_group,
                None if gives.contains_key(&id) => id,
                None => continue,
            };
            let share = Share {
                fork_group,
                // These are all pages that its children inherit, for now.
                given: gives.remove(&id).unwrap_or_default(),
                ..Share::default()
            };
            self.shares.insert(id, share);
        }
    }

    /// Determines the memory that the members of a fork group have in common.
    fn settle_regions(&mut self) {
        let mut concerned: BTreeMap<ProcessId, Vec<ForkableRange>> = BTreeMap::new();
        for (id, share) in &self.shares {
            let member = &self.members[id];
            let touched = |forkable: &&ForkableRange| {
                share.given.touch(&forkable.range) || member.stored.inherited.touch(&forkable.range)
            };
            let forkable_ranges = member.forkable_ranges.iter().filter(touched).cloned();
            concerned
                .entry(share.fork_group)
                .or_default()
                .extend(forkable_ranges);
        }
        for (fork_group, mut forkable_ranges) in concerned {
            forkable_ranges.sort_by_key(|forkable| forkable.range.start);
            let mut regions: Vec<ForkableRange> = Vec::new();
            for forkable in forkable_ranges {
                match regions.last_mut() {
                    Some(last) if forkable.range.start < last.range.end => {
                        // Otherwise the two have different things there, and the second does not
                        // share.
                        if last.goes_with(&forkable) {
                            last.extend(&forkable.range);
                        }
                    }
                    _ => regions.push(forkable),
                }
            }
            self.regions.insert(fork_group, regions);
        }
    }

    fn settle_pages(&mut self) {
        let ids: Vec<ProcessId> = self.shares.keys().copied().collect();
        for id in ids {
            let member = &self.members[&id];
            let born_with = self.born_with(id);
            let share = &self.shares[&id];
            let regions = &self.regions[&share.fork_group];
            let mut all = Runs::default();
            for region in regions {
                all.push(region.range.clone());
            }
            let kept = member
                .forkable_ranges
                .iter()
                .filter(|forkable| region_of(regions, forkable).is_some());
            let kept: Vec<_> = kept.map(|forkable| forkable.range.clone()).collect();
            let given = share.given.and(&all).and(&member.stored.runs);
            // Where it holds a page for its children, its own page is a different one.
            let given = given.without(&member.stored.held_for_children);
            let held_for_children = member.stored.held_for_children.and(&all);
            let there = born_with.or(&given).or(&held_for_children);
            let Some(share) = self.shares.get_mut(&id) else {
                continue;
            };
            (
                share.kept,
                share.given,
                share.held_for_children,
                share.there,
            ) = (kept, given, held_for_children, there);
        }
    }

    /// Returns the pages that a process has in its regions when it is made.
    fn born_with(&self, id: ProcessId) -> Runs {
        let parent = self.members[&id].cow_parent();
        parent
            .and_then(|parent| self.shares.get(&parent))
            .filter(|parent| parent.fork_group == self.shares[&id].fork_group)
            .map_or_else(Runs::default, |parent| parent.there.clone())
    }

    /// Plans the memory that children inherit.
    pub fn plan(&self, plan: &mut Plan) {
        for (&id, share) in &self.shares {
            let task = id.leader();
            if share.fork_group == id {
                for call in unmap_others(plan, &[]) {
                    plan.call(Stage::InheritedMemory, task, call);
                }
                map_regions(&self.regions[&id], task, plan);
            }
            let stored = &self.members[&id].stored;
            let given = stored.fill_some(&share.given, true);
            let held_for_children = stored.fill_held(&share.held_for_children);
            for fill in given.into_iter().chain(held_for_children) {
                plan.step(Stage::InheritedMemory, task, Step::Fill(fill));
            }
        }
    }

    /// Returns the mappings of a process that are there before it makes its own.
    #[must_use]
    pub fn kept(&self, id: ProcessId) -> &[Range<u64>] {
        self.shares.get(&id).map_or(&[], |share| &share.kept)
    }

    /// Discards pages that a process was born with and that are not its own.
    pub fn forget(&self, id: ProcessId, layout: &mut Layout<'_>) {
        let Some(share) = self.shares.get(&id) else {
            return;
        };
        let stored = &self.members[&id].stored;
        let own = stored.runs.or(&stored.inherited);
        for range in share.there.and(&share.kept_runs()).without(&own).ranges() {
            layout.forget(range);
        }
    }

    /// Reads the pages of a process that it does not have yet.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Malformed`] if a page is marked as inherited and no ancestor has it.
    pub fn fill(&self, id: ProcessId, layout: &mut Layout<'_>) -> Result<()> {
        let Some(member) = self.members.get(&id) else {
            return Ok(());
        };
        let nothing = Share::default();
        let share = self.shares.get(&id).unwrap_or(&nothing);
        let mut fills = member.stored.fill_some(&share.given, false);
        // These are the pages that it should have inherited, and could not.
        let mut lost = member.stored.inherited.clone();
        if member.cow_parent().is_some() {
            lost = lost.without(&share.kept_runs());
        }
        let mut ancestor = member.parent;
        while !lost.is_empty() {
            let Some(holder) = ancestor.and_then(|id| self.members.get(&id)) else {
                return Err(Error::malformed(
                    format!("memory of {id}"),
                    "pages are inherited that no ancestor has",
                ));
            };
            let held_for_children = lost.and(&holder.stored.held_for_children);
            fills.extend(holder.stored.fill_held(&held_for_children));
            lost = lost.without(&held_for_children);
            let found = lost.and(&holder.stored.runs);
            fills.extend(holder.stored.fill_some(&found, true));
            lost = lost.without(&found);
            ancestor = holder.parent;
        }
        for fill in fills {
            layout.fill(Stage::FillMemory, fill);
        }
        Ok(())
    }
}

impl Member {
    /// Returns the process from which this one inherits pages.
    fn cow_parent(&self) -> Option<ProcessId> {
        self.parent
            .filter(|_| self.inherits && !self.stored.inherited.is_empty())
    }
}

impl Share {
    fn kept_runs(&self) -> Runs {
        let mut runs = Runs::default();
        for range in &self.kept {
            runs.push(range.clone());
        }
        runs
    }
}

/// Returns the region that a forkable range is part of.
fn region_of<'r>(
    regions: &'r [ForkableRange],
    forkable: &ForkableRange,
) -> Option<&'r ForkableRange> {
    let next = regions.partition_point(|region| region.range.end <= forkable.range.start);
    let holds = |region: &&ForkableRange| {
        region.range.start <= forkable.range.start
            && forkable.range.end <= region.range.end
            && region.goes_with(forkable)
    };
    regions.get(next).filter(holds)
}

/// Plans that a task maps regions.
fn map_regions(regions: &[ForkableRange], task: TaskId, plan: &mut Plan) {
    let stage = Stage::InheritedMemory;
    for region in regions {
        let opened = region.file().map(|(file, offset)| {
            let fd = plan.call(stage, task, open_call(file, libc::O_RDONLY));
            (fd, offset)
        });
        let source = opened.map(|(fd, offset)| (Arg::from(fd), offset));
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        plan.call(stage, task, region.area().map_call(protection, source));
        if let Some((fd, _)) = opened {
            let close = Call::new("close a mapped file", libc::SYS_close, [fd.into()]);
            plan.call(stage, task, close);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::forkable_range::tests::anonymous;

    const P: u64 = 4096;

    /// The first page, and the page after the last.
    type Pages = (u64, u64);

    fn pages(ranges: &[Pages]) -> Runs {
        let mut runs = Runs::default();
        for (start, end) in ranges {
            runs.push(start * P..end * P);
        }
        runs
    }

    fn member(
        parent: Option<u32>,
        forkable_ranges: &[Pages],
        [runs, inherited, held_for_children]: [&[Pages]; 3],
    ) -> Member {
        Member {
            parent: parent.map(ProcessId),
            inherits: true,
            forkable_ranges: forkable_ranges
                .iter()
                .map(|(start, end)| anonymous(start * P..end * P))
                .collect(),
            stored: StoredPages {
                offset: 0x10_0000,
                runs: pages(runs),
                inherited: pages(inherited),
                held_for_children: pages(held_for_children),
                ..StoredPages::default()
            },
        }
    }

    /// Returns the fork groups of a parent; a child that has kept half of a mapping, one of whose pages was held for
    /// children; a child of that child; and a child that has executed another program.
    fn family() -> ForkGroups {
        let members = [
            member(
                None,
                &[(0x10, 0x20), (0x40, 0x50)],
                [&[(0x10, 0x14)], &[], &[(0x15, 0x16)]],
            ),
            member(
                Some(0),
                &[(0x10, 0x18), (0x60, 0x70)],
                [
                    &[(0x12, 0x13), (0x61, 0x62)],
                    &[(0x10, 0x12), (0x15, 0x16)],
                    &[],
                ],
            ),
            member(
                Some(1),
                &[(0x10, 0x18)],
                [&[], &[(0x10, 0x11), (0x12, 0x13)], &[]],
            ),
            member(Some(0), &[(0x10, 0x20)], [&[(0x10, 0x11)], &[], &[]]),
        ];
        ForkGroups::of((0..).map(ProcessId).zip(members).collect())
    }

    fn plan_of_births(births: &[(u32, u32)]) -> Plan {
        let mut plan = Plan::default();
        for &(parent, child) in births {
            let step = Step::SpawnChild {
                child: ProcessId(child),
                pid: vec![100 + child as i32],
                exit_signal: 17,
                flags: 0,
            };
            let stage = if parent == child {
                Stage::Root
            } else {
                Stage::Spawn
            };
            plan.step(stage, ProcessId(parent).leader(), step);
        }
        plan
    }

    #[test]
    fn what_each_has_when_its_children_are_made() {
        let fork_groups = family();
        let share = |id| &fork_groups.shares[&ProcessId(id)];
        assert!(!fork_groups.shares.contains_key(&ProcessId(3)));
        assert!((0..3).all(|id| share(id).fork_group == ProcessId(0)));
        assert_eq!(fork_groups.regions[&ProcessId(0)].len(), 1);
        assert_eq!(share(0).kept.first(), Some(&(0x10 * P..0x20 * P)));
        assert_eq!(share(1).kept.first(), Some(&(0x10 * P..0x18 * P)));
        assert_eq!(share(0).given, pages(&[(0x10, 0x12)]));
        assert_eq!(share(0).there, pages(&[(0x10, 0x12), (0x15, 0x16)]));
        // It need not be given the pages that it was born with.
        assert_eq!(share(1).given, pages(&[(0x12, 0x13)]));
        assert_eq!(share(1).there, pages(&[(0x10, 0x13), (0x15, 0x16)]));
    }

    #[test]
    fn memory_is_mapped_and_filled_before_children_are_made() {
        let mut plan = plan_of_births(&[(0, 0), (0, 1), (0, 3), (1, 2)]);
        family().plan(&mut plan);
        let words = |id: u32| -> Vec<String> {
            let stages = [Stage::Root, Stage::InheritedMemory, Stage::Spawn];
            let of_stage = |stage| plan.stages()[&stage].get(&ProcessId(id).leader());
            let steps = stages.into_iter().filter_map(of_stage).flatten();
            let word = |step: &Step| match step {
                Step::Call(call) => call.label.clone(),
                Step::Fill(fill) => fill.describe(),
                Step::SpawnChild { child, .. } => format!("make {child}"),
                other => panic!("{other:?}"),
            };
            steps.map(word).collect()
        };
        assert_eq!(
            words(0),
            [
                "make p0",
                "unmap the blank above scratch",
                "memory 10000-20000: map",
                "pages: read 8 KiB",
                "pages for children: read 4 KiB",
                "make p1",
                "make p3",
            ]
        );
        assert_eq!(words(1), ["pages: read 4 KiB", "make p2"]);
    }

    /// If two members have different things at the same place, one reads what it would have
    /// inherited.
    #[test]
    fn who_cannot_inherit_reads() {
        let mut fork_groups = family();
        let members = std::mem::take(&mut fork_groups.members);
        let mut fork_groups = ForkGroups {
            members,
            ..ForkGroups::default()
        };
        fork_groups.fork_groups();
        fork_groups.settle_regions();
        fork_groups.regions.insert(ProcessId(0), Vec::new());
        fork_groups.settle_pages();
        let mut plan = Plan::default();
        let common = Default::default();
        let id = ProcessId(2);
        let mut layout = Layout::begin(&mut plan, id.leader(), &[], None, &common, &[]);
        fork_groups.fill(id, &mut layout).unwrap();
        let whats: Vec<_> = plan.stages()[&Stage::FillMemory][&id.leader()]
            .iter()
            .map(|step| match step {
                Step::Fill(fill) => (fill.describe(), fill.offset),
                other => panic!("{other:?}"),
            })
            .collect();
        // One page comes from its parent, one from its grandparent.
        assert_eq!(
            whats,
            [
                ("pages: read 4 KiB".to_owned(), 0x10_0000),
                ("pages: read 4 KiB".to_owned(), 0x10_0000),
            ]
        );
    }
}
