// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Memory that children inherit from their parents, so that they share its pages as they did before
//! the dump.
//!
//! A page can be shared by a `fork` only. So processes that share pages, a *clan*, get the memory
//! concerned before they make each other: its first member maps it, in *regions* that are large enough
//! for all of them, each puts the pages there that its children are to have, and then makes them. Later
//! each unmaps what of the regions is not its own, forgets pages that only others have, and reads its
//! own.
//!
//! Regions and not what each has itself, because a mapping that was inherited does not become one with
//! its neighbour any more (mm/vma.c:is_mergeable_anon_vma), and a program that has one mapping shall
//! not get two.

use std::collections::BTreeMap;
use std::ops::Range;

use crust_model::plan::{Arg, Call, CallRef, Plan, ProcessId, reserved};
use crust_model::{Error, Result};

use super::forkable_range::Plot;
use super::layout::{Layout, open_call, unmap_others};
use crate::memory::pages::{Runs, StoredPages};

/// What is known of a process.
pub struct Member {
    /// Its parent, from which it had inherited pages.
    pub parent: Option<ProcessId>,
    /// It is made by its parent, and can inherit them again. Else somebody has to stand in for that one.
    pub is_heir: bool,
    /// Its private memory.
    pub plots: Vec<Plot>,
    /// Its pages.
    pub stored: StoredPages,
}

/// Who shares what with whom.
#[derive(Default)]
pub struct Estates {
    members: BTreeMap<ProcessId, Member>,
    shares: BTreeMap<ProcessId, Share>,
    /// The regions of each clan, by its first member.
    regions: BTreeMap<ProcessId, Vec<Plot>>,
}

/// What a member of a clan has to do with its regions.
#[derive(Default)]
struct Share {
    /// The first member of its clan.
    clan: ProcessId,
    /// Those of its mappings that are parts of regions.
    kept: Vec<Range<u64>>,
    /// Its own pages that its children are to have.
    given: Runs,
    /// Pages that it holds for its children only.
    lent: Runs,
    /// The pages in the regions when its children are made.
    there: Runs,
}

impl Estates {
    /// Finds the clans among the processes.
    #[must_use]
    pub fn of(members: BTreeMap<ProcessId, Member>) -> Self {
        let mut estates = Self {
            members,
            ..Self::default()
        };
        estates.clans();
        estates.settle_regions();
        estates.settle_pages();
        estates
    }

    fn clans(&mut self) {
        let mut gives = BTreeMap::new();
        for member in self.members.values() {
            if let Some(parent) = member.benefactor() {
                let given: &mut Runs = gives.entry(parent).or_default();
                *given = given.or(&member.stored.inherited);
            }
        }
        for (&id, member) in &self.members {
            let parent = member.benefactor();
            let clan = match parent.and_then(|parent| self.shares.get(&parent)) {
                Some(parent) => parent.clan,
                None if gives.contains_key(&id) => id,
                None => continue,
            };
            let share = Share {
                clan,
                // All that children have of it, for now.
                given: gives.remove(&id).unwrap_or_default(),
                ..Share::default()
            };
            self.shares.insert(id, share);
        }
    }

    /// What of their memory the members of a clan have in common.
    fn settle_regions(&mut self) {
        let mut concerned: BTreeMap<ProcessId, Vec<Plot>> = BTreeMap::new();
        for (id, share) in &self.shares {
            let member = &self.members[id];
            let touched = |plot: &&Plot| {
                share.given.touch(&plot.range) || member.stored.inherited.touch(&plot.range)
            };
            let plots = member.plots.iter().filter(touched).cloned();
            concerned.entry(share.clan).or_default().extend(plots);
        }
        for (clan, mut plots) in concerned {
            plots.sort_by_key(|plot| plot.range.start);
            let mut regions: Vec<Plot> = Vec::new();
            for plot in plots {
                match regions.last_mut() {
                    Some(last) if plot.range.start < last.range.end => {
                        // Else two have different things there: the second does not share.
                        if last.goes_with(&plot) {
                            last.extend(&plot.range);
                        }
                    }
                    _ => regions.push(plot),
                }
            }
            self.regions.insert(clan, regions);
        }
    }

    fn settle_pages(&mut self) {
        let ids: Vec<ProcessId> = self.shares.keys().copied().collect();
        for id in ids {
            let member = &self.members[&id];
            let born_with = self.born_with(id);
            let share = &self.shares[&id];
            let regions = &self.regions[&share.clan];
            let mut all = Runs::default();
            for region in regions {
                all.push(region.range.clone());
            }
            let kept = member
                .plots
                .iter()
                .filter(|plot| region_of(regions, plot).is_some());
            let kept: Vec<_> = kept.map(|plot| plot.range.clone()).collect();
            let given = share.given.and(&all).and(&member.stored.runs);
            // Where it lends a page, its own is another one.
            let given = given.without(&member.stored.lent);
            let lent = member.stored.lent.and(&all);
            let there = born_with.or(&given).or(&lent);
            let Some(share) = self.shares.get_mut(&id) else {
                continue;
            };
            (share.kept, share.given, share.lent, share.there) = (kept, given, lent, there);
        }
    }

    /// The pages that a process has in its regions when it is made.
    fn born_with(&self, id: ProcessId) -> Runs {
        let parent = self.members[&id].benefactor();
        parent
            .and_then(|parent| self.shares.get(&parent))
            .filter(|parent| parent.clan == self.shares[&id].clan)
            .map_or_else(Runs::default, |parent| parent.there.clone())
    }

    /// Plans what happens before children are made.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the plan makes no such process.
    pub fn plan(&self, plan: &mut Plan) -> Result<()> {
        for (&id, share) in &self.shares {
            if share.clan != id && share.given.is_empty() && share.lent.is_empty() {
                continue;
            }
            let mut calls = Vec::new();
            let first = plan.births(id)?;
            if share.clan == id {
                calls.extend(unmap_others(plan, &[]));
                let base = CallRef(first as u32 + calls.len() as u32);
                calls.extend(map_regions(&self.regions[&id], base));
            }
            let image = plan.reserved_fds + reserved::IMAGE;
            let stored = &self.members[&id].stored;
            calls.extend(stored.fill_some(&share.given, true, image));
            calls.extend(stored.fill_lent(&share.lent, image));
            plan.insert_calls(id, first, calls);
        }
        Ok(())
    }

    /// The mappings of a process that are there before it makes its own.
    #[must_use]
    pub fn kept(&self, id: ProcessId) -> &[Range<u64>] {
        self.shares.get(&id).map_or(&[], |share| &share.kept)
    }

    /// Has a process forget pages that it was born with, and that are not its own.
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
    /// [`Error::Malformed`] if a page is said to be inherited and is not.
    pub fn fill(&self, id: ProcessId, layout: &mut Layout<'_>) -> Result<()> {
        let Some(member) = self.members.get(&id) else {
            return Ok(());
        };
        let image = layout.reserved(reserved::IMAGE);
        let nothing = Share::default();
        let share = self.shares.get(&id).unwrap_or(&nothing);
        let mut calls = member.stored.fill_some(&share.given, false, image);
        // What it should have inherited, and could not.
        let mut lost = member.stored.inherited.clone();
        if member.benefactor().is_some() {
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
            let lent = lost.and(&holder.stored.lent);
            calls.extend(holder.stored.fill_lent(&lent, image));
            lost = lost.without(&lent);
            let found = lost.and(&holder.stored.runs);
            calls.extend(holder.stored.fill_some(&found, true, image));
            lost = lost.without(&found);
            ancestor = holder.parent;
        }
        calls.into_iter().for_each(|call| layout.fill(call));
        Ok(())
    }
}

impl Member {
    /// Of whom it inherits pages.
    fn benefactor(&self) -> Option<ProcessId> {
        self.parent
            .filter(|_| self.is_heir && !self.stored.inherited.is_empty())
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

/// The region that a plot is a part of.
fn region_of<'r>(regions: &'r [Plot], plot: &Plot) -> Option<&'r Plot> {
    let next = regions.partition_point(|region| region.range.end <= plot.range.start);
    let holds = |region: &&Plot| {
        region.range.start <= plot.range.start
            && plot.range.end <= region.range.end
            && region.goes_with(plot)
    };
    regions.get(next).filter(holds)
}

/// The calls that map regions, of which the first has this number.
fn map_regions(regions: &[Plot], base: CallRef) -> Vec<Call> {
    let mut calls = Vec::new();
    for region in regions {
        let opened = region.file().map(|(file, offset)| {
            calls.push(open_call(file, libc::O_RDONLY));
            (CallRef(base.0 + calls.len() as u32 - 1), offset)
        });
        let source = opened.map(|(fd, offset)| (Arg::from(fd), offset));
        calls.push(
            region
                .area()
                .map_call(libc::PROT_READ | libc::PROT_WRITE, source),
        );
        if let Some((fd, _)) = opened {
            calls.push(Call::new(
                "close a mapped file",
                libc::SYS_close,
                [fd.into()],
            ));
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use crust_model::plan::{Stage, Step};

    use super::*;
    use crate::memory::forkable_range::tests::anonymous;

    const P: u64 = 4096;

    /// First page, and the page after the last.
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
        plots: &[Pages],
        [runs, inherited, lent]: [&[Pages]; 3],
    ) -> Member {
        Member {
            parent: parent.map(ProcessId),
            is_heir: true,
            plots: plots
                .iter()
                .map(|(start, end)| anonymous(start * P..end * P))
                .collect(),
            stored: StoredPages {
                offset: 0x10_0000,
                runs: pages(runs),
                inherited: pages(inherited),
                lent: pages(lent),
                ..StoredPages::default()
            },
        }
    }

    /// A parent; a child that has kept half of a mapping, and of whose pages one was lent; a child of
    /// that; and a child that has executed another program.
    fn family() -> Estates {
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
        Estates::of((0..).map(ProcessId).zip(members).collect())
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
            plan.step(Stage::Spawn, ProcessId(parent).leader(), step);
        }
        plan
    }

    #[test]
    fn what_each_has_when_its_children_are_made() {
        let estates = family();
        let share = |id| &estates.shares[&ProcessId(id)];
        assert!(!estates.shares.contains_key(&ProcessId(3)));
        assert!((0..3).all(|id| share(id).clan == ProcessId(0)));
        assert_eq!(estates.regions[&ProcessId(0)].len(), 1);
        assert_eq!(share(0).kept.first(), Some(&(0x10 * P..0x20 * P)));
        assert_eq!(share(1).kept.first(), Some(&(0x10 * P..0x18 * P)));
        assert_eq!(share(0).given, pages(&[(0x10, 0x12)]));
        assert_eq!(share(0).there, pages(&[(0x10, 0x12), (0x15, 0x16)]));
        // What it was born with it need not be given.
        assert_eq!(share(1).given, pages(&[(0x12, 0x13)]));
        assert_eq!(share(1).there, pages(&[(0x10, 0x13), (0x15, 0x16)]));
    }

    #[test]
    fn memory_is_mapped_and_filled_before_children_are_made() {
        let mut plan = plan_of_births(&[(0, 0), (0, 1), (0, 3), (1, 2)]);
        family().plan(&mut plan).unwrap();
        let words = |id: u32| -> Vec<String> {
            let steps = &plan.stages[&Stage::Spawn][&ProcessId(id).leader()];
            let word = |step: &Step| match step {
                Step::Call(call) => call.what.clone(),
                Step::SpawnChild { child, .. } => format!("make {child}"),
                other => panic!("{other:?}"),
            };
            steps.iter().map(word).collect()
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
        assert!(
            family()
                .plan(&mut plan_of_births(&[(0, 0), (0, 3)]))
                .is_err()
        );
    }

    /// Two members have different things at the same place: one reads what it would have inherited.
    #[test]
    fn who_cannot_inherit_reads() {
        let mut estates = family();
        let members = std::mem::take(&mut estates.members);
        let mut estates = Estates {
            members,
            ..Estates::default()
        };
        estates.clans();
        estates.settle_regions();
        estates.regions.insert(ProcessId(0), Vec::new());
        estates.settle_pages();
        let mut plan = Plan::default();
        let common = Default::default();
        let id = ProcessId(2);
        let mut layout = Layout::begin(&mut plan, id.leader(), &[], None, &common, &[]);
        estates.fill(id, &mut layout).unwrap();
        let whats: Vec<_> = plan.stages[&Stage::FillMemory][&id.leader()]
            .iter()
            .map(|step| match step {
                Step::Call(call) => (call.what.as_str(), call.args[3].clone()),
                other => panic!("{other:?}"),
            })
            .collect();
        // One page of its parent, one of its grandparent.
        assert_eq!(
            whats,
            [
                ("pages: read 4 KiB", Arg::Value(0x10_0000)),
                ("pages: read 4 KiB", Arg::Value(0x10_0000)),
            ]
        );
    }
}
