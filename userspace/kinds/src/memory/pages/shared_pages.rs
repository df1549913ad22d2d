// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Pages that processes still share copy-on-write since a `fork`, because none of them has written
//! to them.
//!
//! They are recognised by their page frame numbers in `/proc/PID/pagemap`, which only `CAP_SYS_ADMIN` can see; without
//! it, every process gets pages of its own. An image has such a page once, and a restore lets children inherit it
//! again. This happens in two ways:
//!
//! * A child has the same page as its parent.
//! * Several children have the same page, which the parent has written to since. The parent *holds* this
//!   page for its children until they are made, and then gets its own.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crust_image::PAGE_SIZE;
use crust_model::plan::ProcessId;
use crust_model::{Error, Result};
use crust_tracee::frozen_process::FrozenProcess;
use nix::errno::Errno;
use zerocopy::IntoBytes;

use super::Runs;
use crate::memory::forkable_range::{self, ForkableRange};

/// The number of `pagemap` entries that are read at once.
const ENTRIES: u64 = 16 << 10;

/// A process and its private memory.
pub(super) struct Holder<'a> {
    pub(super) process: &'a FrozenProcess,
    pub(super) forkable_ranges: Vec<ForkableRange>,
    /// All pages that the process has.
    pub(super) pages: Runs,
}

/// The pages that a process has in common with its relatives.
#[derive(Debug, Default)]
pub(super) struct SharedPages {
    /// The pages that it shares with its parent.
    pub(super) inherited: Runs,
    /// The pages that it holds for its children, each with one of the children that have it.
    pub(super) held_for_children: Vec<(Range<u64>, ProcessId)>,
}

/// Finds the shared pages of each of the processes, which are in the order of the tree.
pub(super) fn find(holders: &[Holder<'_>]) -> Result<Vec<SharedPages>> {
    let places: HashMap<ProcessId, usize> = holders
        .iter()
        .enumerate()
        .map(|(place, holder)| (holder.process.id, place))
        .collect();
    let mut children: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (place, holder) in holders.iter().enumerate() {
        let parent = holder.process.parent.and_then(|parent| places.get(&parent));
        if let Some(&parent) = parent {
            children.entry(parent).or_default().push(place);
        }
    }
    let mut all: Vec<SharedPages> = holders.iter().map(|_| SharedPages::default()).collect();
    for (parent, children) in children {
        Family::of(&holders[parent], parent, holders, &children)?.settle(&mut all);
    }
    Ok(all)
}

/// The pages that the children of one process share with it, and with each other.
struct Family<'a> {
    parent: usize,
    holders: &'a [Holder<'a>],
    /// The addresses of the pages that each child shares with its parent.
    inherited: BTreeMap<usize, Vec<u64>>,
    /// The children that have a page their parent does not have, keyed by address and page.
    shared: BTreeMap<(u64, u64), Vec<usize>>,
}

impl<'a> Family<'a> {
    fn of(
        parent: &Holder<'_>,
        place: usize,
        holders: &'a [Holder<'a>],
        children: &[usize],
    ) -> Result<Self> {
        let mut family = Self {
            parent: place,
            holders,
            inherited: BTreeMap::new(),
            shared: BTreeMap::new(),
        };
        let ours = Frames::of(parent.process)?;
        for &child in children {
            let holder = &holders[child];
            let mut common = Runs::default();
            for range in forkable_range::common(&parent.forkable_ranges, &holder.forkable_ranges) {
                common.push(range);
            }
            let theirs = Frames::of(holder.process)?;
            for range in holder.pages.and(&common).ranges() {
                family.compare(child, range, &ours, &theirs)?;
            }
        }
        Ok(family)
    }

    /// Compares the pages of a range of addresses.
    fn compare(
        &mut self,
        child: usize,
        range: &Range<u64>,
        ours: &Frames<'_>,
        theirs: &Frames<'_>,
    ) -> Result<()> {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + ENTRIES * PAGE_SIZE);
            let of_child = theirs.read(start, end)?;
            if of_child.iter().any(|&entry| is_shared(entry)) {
                // The kernel may move pages even now. A page that is the same before and after was the same in between.
                let before = ours.read(start, end)?;
                let again = theirs.read(start, end)?;
                let after = ours.read(start, end)?;
                let parents = before.iter().zip(&after);
                let childs = of_child.iter().zip(&again);
                for (index, (parent, child_entry)) in (0..).zip(parents.zip(childs)) {
                    let address = start + index * PAGE_SIZE;
                    let (Some(page), true) = (page(*child_entry.0), child_entry.0 == child_entry.1)
                    else {
                        continue;
                    };
                    if parent.0 == parent.1 && self::page(*parent.0) == Some(page) {
                        self.inherited.entry(child).or_default().push(address);
                    } else if is_shared(*child_entry.0) {
                        self.shared.entry((address, page)).or_default().push(child);
                    }
                }
            }
            start = end;
        }
        Ok(())
    }

    /// Decides which pages the parent holds for its children, and records everything.
    fn settle(mut self, all: &mut [SharedPages]) {
        let mut kept = Runs::default();
        for addresses in self.inherited.values() {
            kept = kept.or(&runs(addresses));
        }
        // The parent must hold at that moment what it has inherited itself, or a child shares with
        // it.
        kept = kept.or(&all[self.parent].inherited);
        let mut best: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for ((address, _), children) in self.shared {
            let taken = kept.touch(&(address..address + PAGE_SIZE));
            let most = best.get(&address).map_or(1, Vec::len);
            if children.len() > most && !taken {
                best.insert(address, children);
            }
        }
        for (address, children) in best {
            let held_for_children = &mut all[self.parent].held_for_children;
            let source = self.holders[children[0]].process.id;
            match held_for_children.last_mut() {
                Some((range, of)) if range.end == address && *of == source => {
                    range.end += PAGE_SIZE;
                }
                _ => held_for_children.push((address..address + PAGE_SIZE, source)),
            }
            for child in children {
                self.inherited.entry(child).or_default().push(address);
            }
        }
        for (child, mut addresses) in self.inherited {
            addresses.sort_unstable();
            all[child].inherited = runs(&addresses);
        }
    }
}

fn runs(addresses: &[u64]) -> Runs {
    let mut runs = Runs::default();
    for &address in addresses {
        runs.push(address..address + PAGE_SIZE);
    }
    runs
}

// Bits of an entry (Documentation/admin-guide/mm/pagemap.rst).
const FRAME: u64 = (1 << 55) - 1;
const EXCLUSIVE: u64 = 1 << 56;
const SWAPPED: u64 = 1 << 62;
const PRESENT: u64 = 1 << 63;

/// Returns whether another process may have the page too.
fn is_shared(entry: u64) -> bool {
    entry & EXCLUSIVE == 0 && page(entry).is_some()
}

/// Returns which page it is: its page frame, or its place in the swap space.
fn page(entry: u64) -> Option<u64> {
    let kind = entry & (PRESENT | SWAPPED);
    (kind != 0 && entry & FRAME != 0).then_some(kind | entry & FRAME)
}

/// The file `/proc/PID/pagemap` of a process.
struct Frames<'a> {
    process: &'a FrozenProcess,
    pagemap: File,
}

impl<'a> Frames<'a> {
    fn of(process: &'a FrozenProcess) -> Result<Self> {
        let pagemap = crust_proc::open(&process.proc, process.pid, "pagemap")?;
        Ok(Self {
            process,
            pagemap: File::from(pagemap),
        })
    }

    fn read(&self, start: u64, end: u64) -> Result<Vec<u64>> {
        let mut entries = vec![0_u64; ((end - start) / PAGE_SIZE) as usize];
        self.pagemap
            .read_exact_at(entries.as_mut_bytes(), start / PAGE_SIZE * 8)
            .map_err(|error| {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::ESRCH));
                Error::task(self.process.pid, "read pagemap", errno)
            })?;
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        assert_eq!(page(0), None);
        // This is an entry as shown without the right to see page frames.
        assert_eq!(page(PRESENT), None);
        assert!(is_shared(PRESENT | 7));
        assert!(!is_shared(PRESENT | EXCLUSIVE | 7));
        assert_eq!(page(PRESENT | EXCLUSIVE | 7), page(PRESENT | 7));
        assert_ne!(page(PRESENT | 7), page(SWAPPED | 7));
    }

    /// Tests a parent and a child with common pages, and another page that two children share.
    #[test]
    fn lending() {
        const P: u64 = PAGE_SIZE;
        let family = Family {
            parent: 0,
            holders: &[],
            inherited: BTreeMap::from([(1, vec![P]), (2, vec![P, 2 * P])]),
            shared: BTreeMap::from([
                // Only one child has this page.
                ((3 * P, 30), vec![1]),
                // The parent must hold its own page here.
                ((2 * P, 20), vec![1, 3]),
            ]),
        };
        let mut all: Vec<SharedPages> = (0..4).map(|_| SharedPages::default()).collect();
        family.settle(&mut all);
        assert!(all[0].held_for_children.is_empty());
        assert_eq!(all[1].inherited.ranges()[0], P..2 * P);
        assert_eq!(all[2].inherited.ranges()[0], P..3 * P);
        assert!(all[3].inherited.is_empty());
    }
}
