// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The memory of an io_uring in a process: its rings, or its entries. The contents are stored with the ring, see
//! [`uring`](crate::file::uring).
//!
//! The kernel maps a ring only where it chooses itself: it accepts no address, not even with `MAP_FIXED`, nor does
//! `mremap` move it (`io_uring/memmap.c:io_uring_get_unmapped_area`). So before anything else is in the address space,
//! all other [gaps] are occupied.

use std::ops::Range;

use crust_arch::TASK_SIZE;
use crust_model::plan::{Arg, Call, Stage};
use crust_model::{Error, Result};
use crust_proc::smaps::{Vma, vm_flag};
use crust_sys::uring::{OFFSET_COMPLETIONS, OFFSET_ENTRIES, OFFSET_RINGS};
use serde::{Deserialize, Serialize};

use super::area::Area;
use super::layout::Layout;
use super::{Content, MappingKind, MemoryCapture};
use crate::file::uring::LINK;
use crate::file::uring::rings::{MappedRing, Rings};
use crate::ranges::gaps;

/// A mapping of a ring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UringMemory {
    /// The address range, protection and advice of the mapping.
    pub area: Area,
    /// The inode of the ring.
    pub inode: u64,
    /// The part of the ring that is mapped: one of the offsets to which the kernel gives a meaning.
    pub offset: u64,
}

/// Returns whether a mapping is of a ring.
#[must_use]
pub fn is_ring(vma: &Vma) -> bool {
    vma.name == LINK.as_bytes()
}

impl MappingKind for UringMemory {
    const TAG: u16 = 0x0217;
    const NAME: &'static str = "memory of an io_uring";
    const SUPPORT: &'static str = "Of a quiet ring of which the process has a descriptor: rings and entries, \
        at their addresses. VmPeak grows.";
    const CONTENT: Content = Content::Elsewhere;

    fn matches(vma: &Vma) -> bool {
        is_ring(vma)
    }

    fn capture(vma: &Vma, found: &mut MemoryCapture<'_>) -> Result<Option<Self>> {
        let is_whole = [OFFSET_RINGS, OFFSET_COMPLETIONS, OFFSET_ENTRIES].contains(&vma.offset);
        if !is_whole || !vma.is(vm_flag::MAY_SHARE) {
            found.refusals.block(
                found.process.pid,
                "uring-memory",
                vma.title(),
                "a part of the memory of an io_uring, or memory of an io_uring of another kind",
                "have the program unmap it before the dump",
            );
            return Ok(None);
        }
        found.notes.of::<Vec<MappedRing>>().push(MappedRing {
            process: found.process.id,
            pid: found.process.pid,
            title: vma.title(),
            inode: vma.inode,
            entries: (vma.offset == OFFSET_ENTRIES).then_some(vma.length()),
        });
        Ok(Some(Self {
            area: Area::of(vma),
            inode: vma.inode,
            offset: vma.offset,
        }))
    }

    fn area(&self) -> &Area {
        &self.area
    }

    /// Gives advice only: the mappings are [placed](place) before all others.
    fn plan(list: &[Self], layout: &mut Layout<'_>) -> Result<()> {
        for mapping in list {
            mapping.area.advise(Stage::MapMemory, layout);
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let what = match self.offset {
            OFFSET_ENTRIES => "entries",
            _ => "rings",
        };
        format!("{} {what} of {}", self.area.describe(), self.inode)
    }
}

/// Maps the rings of a process whose address space is empty except for what the restore needs and what was inherited.
///
/// # Errors
///
/// Returns [`Error::Malformed`] if the process has no descriptor of a ring.
pub fn place(list: &[UringMemory], rings: &Rings, layout: &mut Layout<'_>) -> Result<()> {
    let mut list: Vec<&UringMemory> = list.iter().collect();
    list.sort_unstable_by_key(|mapping| mapping.area.start);
    let process = layout.task.process;
    let gaps = gaps::between(layout.occupied(), EVERYWHERE);
    // Without privilege the lowest addresses cannot be mapped (vm.mmap_min_addr), nor can the ring
    // end up there.
    layout.call(Stage::MapMemory, gaps::occupy(&LOWEST).may_fail());
    for gap in &gaps {
        layout.call(Stage::MapMemory, gaps::occupy(gap));
    }
    for mapping in &list {
        let number = rings.number(process, mapping.inode).ok_or_else(|| {
            let problem = format!("{process} has no descriptor of that ring");
            Error::malformed(mapping.area.what("map"), problem)
        })?;
        let make_room = gaps::free(&mapping.area.range());
        layout.call(Stage::MapMemory, make_room);
        layout.call(Stage::MapMemory, mapping.map(number));
    }
    layout.call(Stage::MapMemory, gaps::free(&LOWEST));
    let taken = layout.occupied().into_iter();
    let taken = taken.chain(list.iter().map(|mapping| mapping.area.range()));
    for gap in gaps::between(taken.collect(), EVERYWHERE) {
        layout.call(Stage::MapMemory, gaps::free(&gap));
    }
    Ok(())
}

impl UringMemory {
    fn map(&self, number: i32) -> Call {
        let call = Call::new(
            self.area.what("map the ring"),
            libc::SYS_mmap,
            [
                0.into(),
                self.area.length.into(),
                self.area.protection().into(),
                libc::MAP_SHARED.into(),
                number.into(),
                Arg::from(self.offset),
            ],
        );
        call.must_return(self.area.start)
    }
}

/// The range in which the kernel may choose an address.
const EVERYWHERE: Range<u64> = 2 << 20..TASK_SIZE;
/// The range in which the kernel rarely may.
const LOWEST: Range<u64> = 4096..2 << 20;

#[cfg(test)]
mod tests {
    use crust_image::Record;
    use crust_model::object::State;
    use crust_model::plan::{ProcessId, Step};

    use super::*;
    use crate::descriptor::DescriptionId;
    use crate::descriptor::table::{Slot, Table};
    use crate::file::uring::Uring;
    use crate::memory::Mappings;
    use crate::memory::address_space::AddressSpace;
    use crate::memory::plan::tests::{calls, planned};

    fn records() -> Vec<Record> {
        let ring = Uring {
            inode: 77,
            ..Uring::default()
        };
        let table = Table {
            slots: vec![Slot {
                number: 5,
                cloexec: true,
                description: DescriptionId(3),
            }],
            ..Table::default()
        };
        let mapping = |start, offset| UringMemory {
            area: Area {
                start,
                length: 8192,
                vm_flags: vm_flag::READ | vm_flag::MAY_SHARE | vm_flag::DONT_FORK,
            },
            inode: 77,
            offset,
        };
        let list = vec![
            mapping(0x7f00_0000_0000, 0),
            mapping(0x40_0000, OFFSET_ENTRIES),
        ];
        [
            ring.record((3, 0)),
            table.record((0, 0)),
            AddressSpace::default().record((0, 0)),
            Mappings(list).record((0, 0)),
        ]
        .into_iter()
        .collect::<Result<_>>()
        .unwrap()
    }

    #[test]
    fn only_where_it_was_is_there_room_for_a_ring() {
        let plan = planned(&records()).unwrap();
        let (stage, task) = (Stage::MapMemory, ProcessId(0).leader());
        let calls = calls(&plan, stage, task);
        let (from, to) = (
            plan.scratch.0,
            plan.scratch.0 + crust_model::plan::scratch::TOTAL,
        );
        let expected = [
            "unmap the blank below scratch".to_owned(),
            "unmap the blank above scratch".to_owned(),
            "occupy 1000-200000".to_owned(),
            format!("occupy 200000-{from:x}"),
            format!("occupy {to:x}-7ffffffff000"),
            "free 400000-402000".to_owned(),
            "memory 400000-402000: map the ring".to_owned(),
            "free 7f0000000000-7f0000002000".to_owned(),
            "memory 7f0000000000-7f0000002000: map the ring".to_owned(),
            "free 1000-200000".to_owned(),
            "free 200000-400000".to_owned(),
            format!("free 402000-{from:x}"),
            format!("free {to:x}-7f0000000000"),
            "free 7f0000002000-7ffffffff000".to_owned(),
            "memory 7f0000000000-7f0000002000: advise".to_owned(),
            "memory 400000-402000: advise".to_owned(),
            "unmap where the vDSO was parked".to_owned(),
        ];
        assert_eq!(calls, expected);
        let Step::Call(map) = &plan.stages()[&stage][&task][6] else {
            panic!("no call");
        };
        assert_eq!((&map.args[0], &map.args[4]), (&0.into(), &5.into()));
    }

    #[test]
    fn a_ring_without_a_descriptor_is_an_error() {
        let mut records = records();
        records.remove(0);
        assert!(planned(&records).is_err());
    }
}
