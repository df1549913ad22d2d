// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tells which process has a descriptor of which ring, by which its memory is mapped again.

use std::collections::{BTreeMap, BTreeSet};

use crust_model::Result;
use crust_model::image::Image;
use crust_model::plan::ProcessId;
use crust_sys::uring::ENTRY;

use super::Uring;
use crate::descriptor::table::Table;
use crate::file::collect::FileCapture;

/// The rings of an image, by inode.
#[derive(Debug, Default)]
pub struct Rings {
    /// The length of the entries of each ring, in bytes.
    entries: BTreeMap<u64, u64>,
    /// The lowest number of each ring in each process that has it.
    numbers: BTreeMap<(ProcessId, u64), i32>,
}

impl Rings {
    /// Collects the rings of an image.
    #[must_use]
    pub fn of(image: &Image) -> Self {
        let mut rings = Self::default();
        let mut inodes = BTreeMap::new();
        for (owner, ring) in image.all::<Uring>() {
            inodes.insert(owner.number, ring.inode);
            let entries = ENTRY as u64 * u64::from(ring.entries);
            rings.entries.insert(ring.inode, entries);
        }
        if inodes.is_empty() {
            return rings;
        }
        for (process, table) in image.all::<Table>() {
            let process = process.process();
            let owner = image.get::<Table>(table.shares.unwrap_or(process));
            for slot in owner.into_iter().flat_map(|owner| &owner.slots) {
                if let Some(&inode) = inodes.get(&slot.description.0) {
                    let numbers = &mut rings.numbers;
                    numbers.entry((process, inode)).or_insert(slot.number);
                }
            }
        }
        rings
    }

    /// Returns the number by which a process has a ring.
    #[must_use]
    pub fn number(&self, process: ProcessId, inode: u64) -> Option<i32> {
        self.numbers.get(&(process, inode)).copied()
    }
}

/// A mapping of a ring, as it was found in a process.
#[derive(Debug)]
pub struct MappedRing {
    /// The process that has the mapping.
    pub process: ProcessId,
    /// The pid of that process.
    pub pid: i32,
    /// The title of the mapping, for messages to the user.
    pub title: String,
    /// The inode of the ring.
    pub inode: u64,
    /// The length of the mapping in bytes, if it is of the entries.
    pub entries: Option<u64>,
}

/// Refuses mappings that cannot be made again, once all rings are known.
pub(super) fn resolve_refs(cx: &mut FileCapture) -> Result<()> {
    let mapped = cx.notes.take::<Vec<MappedRing>>();
    if mapped.is_empty() {
        return Ok(());
    }
    let rings = Rings::of(cx.image);
    let open = cx.probes.iter();
    let open: BTreeSet<u64> = open
        .filter(|probe| probe.is_linked(super::LINK))
        .map(|probe| probe.identity.ino)
        .collect();
    for mapped in mapped {
        let entries = rings.entries.get(&mapped.inode).copied();
        let (why, remedy) = if entries.is_none() && open.contains(&mapped.inode) {
            // The ring was refused as a whole.
            continue;
        } else if rings.number(mapped.process, mapped.inode).is_none() {
            (
                "the memory of an io_uring of which the process has no descriptor",
                "have the program keep it open, or unmap it, before the dump",
            )
        } else if mapped.entries < entries.filter(|_| mapped.entries.is_some()) {
            // The kernel maps the entries as a whole or not at all.
            (
                "a part of the entries of an io_uring, which the kernel maps only as a whole",
                "have the program unmap all of them, or none",
            )
        } else {
            continue;
        };
        cx.refusals
            .block(mapped.pid, "uring-memory", mapped.title, why, remedy);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::DescriptionId;
    use crate::descriptor::table::Slot;

    #[test]
    fn the_lowest_number_of_who_has_it() {
        let ring = Uring {
            inode: 77,
            entries: 64,
            ..Uring::default()
        };
        let slot = |number, id| Slot {
            number,
            cloexec: true,
            description: DescriptionId(id),
        };
        let own = Table {
            slots: vec![slot(3, 8), slot(5, 9), slot(6, 9)],
            ..Table::default()
        };
        let shared = Table {
            shares: Some(ProcessId(0)),
            ..Table::default()
        };
        let mut image = Image::default();
        image.add((9, 0), ring).unwrap();
        image.add((0, 0), own).unwrap();
        image.add((1, 0), shared).unwrap();
        image.add((2, 0), Table::default()).unwrap();
        let rings = Rings::of(&image);
        let number = |process| rings.number(ProcessId(process), 77);
        assert_eq!((number(0), number(1), number(2)), (Some(5), Some(5), None));
        assert_eq!(rings.entries[&77], 4096);
    }
}
