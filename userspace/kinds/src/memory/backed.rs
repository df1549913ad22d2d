// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Fills files without a path: the process that makes a file maps all of it at addresses that no process of the image
//! uses, reads the pages from the image, and unmaps it before the file gets its times and seals.
//!
//! A file that some process maps privately, or runs, is filled while its maker lays out its own memory, which is before
//! any other process gets at it ([`Stage::ShareMemory`]): a private mapping that is locked gets its pages when it is
//! locked. All others are filled when memory is, by several threads.

use std::collections::BTreeMap;
use std::ops::Range;

use crust_image::PAGE_SIZE;
use crust_model::image::Image;
use crust_model::plan::{Call, ProcessId, Stage, reserved};
use crust_model::{Error, Result};

use super::layout::Layout;
use crate::kind::Kinds;
use crate::pathless::{HoldingFd, HoldingFds};
use crate::ranges::holes::Holes;

/// The files without a path of an image.
#[derive(Default)]
pub struct Backed<'i> {
    holding_fds: HoldingFds<'i>,
    /// The ranges where files with contents are mapped to be filled.
    at: BTreeMap<u32, Range<u64>>,
    of_process: BTreeMap<ProcessId, Vec<u32>>,
}

impl<'i> Backed<'i> {
    /// Finds address ranges for the files.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Malformed`] if there is no room, or the records contradict each other.
    pub fn of(
        kinds: Kinds,
        image: &'i Image,
        first_reserved: i32,
        holes: &mut Holes,
    ) -> Result<Self> {
        let holding_fds = HoldingFds::of(kinds, image, first_reserved)?;
        let mut at = BTreeMap::new();
        let mut of_process: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for holding_fd in holding_fds.all() {
            let pathless = holding_fd.file.pathless();
            let of_process = of_process.entry(holding_fd.process).or_default();
            of_process.push(pathless.id);
            let contents = &pathless.contents;
            let Some(last) = contents.runs.ranges().last() else {
                continue;
            };
            let page = 1_u64.checked_shl(contents.huge.into()).unwrap_or(0);
            let page = page.max(PAGE_SIZE);
            let malformed = |problem| Error::malformed(holding_fd.file.title(), problem);
            if last.end / PAGE_SIZE > contents.size.div_ceil(PAGE_SIZE) {
                return Err(malformed("it has pages behind its end"));
            }
            let length = last
                .end
                .checked_next_multiple_of(page)
                .ok_or_else(|| malformed("its pages are too far apart"))?;
            let start = holes
                .take_aligned(length, page)
                .ok_or_else(|| malformed("there is no room for it"))?;
            at.insert(pathless.id, start..start + length);
        }
        Ok(Self {
            holding_fds,
            at,
            of_process,
        })
    }

    /// Returns the holding descriptor of a file, which keeps it open while it is restored.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Malformed`] if the image does not have the file.
    pub fn holding_fd(&self, id: u32) -> Result<&HoldingFd<'i>> {
        self.holding_fds.get(id)
    }

    fn of_process(
        &self,
        process: ProcessId,
    ) -> impl Iterator<Item = (&HoldingFd<'i>, &Range<u64>)> {
        let own = self.of_process.get(&process).into_iter().flatten();
        own.filter_map(|id| {
            let at = self.at.get(id).unwrap_or(&NOWHERE);
            Some((self.holding_fds.get(*id).ok()?, at))
        })
    }

    /// Maps the files that the process makes, and fills those that have to be complete early.
    pub fn map(&self, layout: &mut Layout<'_>) {
        let stage = Stage::MapMemory;
        for (holding_fd, at) in self.of_process(layout.task.process) {
            let pathless = holding_fd.file.pathless();
            if !at.is_empty() {
                map(holding_fd, at, layout);
            }
            if is_early(holding_fd) {
                fill(holding_fd, stage, at, layout);
                unmap(holding_fd, stage, at, layout);
            }
            if pathless.is_program {
                reopen(holding_fd, layout);
            }
        }
    }

    /// Fills the other files.
    pub fn fill(&self, layout: &mut Layout<'_>) {
        for (holding_fd, at) in self.of_process(layout.task.process) {
            if !is_early(holding_fd) {
                fill(holding_fd, Stage::FillMemory, at, layout);
            }
        }
    }

    /// Completes the files, and closes their holding descriptors.
    pub fn release(&self, layout: &mut Layout<'_>) {
        let stage = Stage::SealMemory;
        for (holding_fd, at) in self.of_process(layout.task.process) {
            if !is_early(holding_fd) {
                unmap(holding_fd, stage, at, layout);
            }
            for call in holding_fd.finish() {
                layout.call(stage, call);
            }
        }
    }
}

const NOWHERE: Range<u64> = 0..0;

/// Returns whether a file is filled, and unmapped again, before its maker maps its own memory.
pub(super) fn is_early(holding_fd: &HoldingFd<'_>) -> bool {
    let pathless = holding_fd.file.pathless();
    pathless.is_private || pathless.is_program
}

fn map(holding_fd: &HoldingFd<'_>, at: &Range<u64>, layout: &mut Layout<'_>) {
    // No huge pages are reserved for what is a hole and stays one.
    let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE | libc::MAP_NORESERVE;
    let call = Call::new(
        format!("{}: map all of it", holding_fd.file.title()),
        libc::SYS_mmap,
        [
            at.start.into(),
            (at.end - at.start).into(),
            (libc::PROT_READ | libc::PROT_WRITE).into(),
            flags.into(),
            holding_fd.number.into(),
            0.into(),
        ],
    );
    layout.call(Stage::MapMemory, call.must_return(at.start));
}

fn fill(holding_fd: &HoldingFd<'_>, stage: Stage, at: &Range<u64>, layout: &mut Layout<'_>) {
    let contents = &holding_fd.file.pathless().contents;
    contents.fill(&holding_fd.file.title(), stage, at.start, layout);
}

fn unmap(holding_fd: &HoldingFd<'_>, stage: Stage, at: &Range<u64>, layout: &mut Layout<'_>) {
    if at.is_empty() {
        return;
    }
    let call = Call::new(
        format!("{}: unmap all of it", holding_fd.file.title()),
        libc::SYS_munmap,
        [at.start.into(), (at.end - at.start).into()],
    );
    layout.call(stage, call);
}

/// Keeps the file open for reading only, since a program may not be open for writing by anybody. (A memfd as it was
/// made does not count as such, and needs to be writable to be sealed.)
fn reopen(holding_fd: &HoldingFd<'_>, layout: &mut Layout<'_>) {
    if holding_fd.file.is_open_when_made() {
        return;
    }
    let stage = Stage::MapMemory;
    let proc = layout.reserved(reserved::PROC);
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    let opened = layout.call(stage, holding_fd.open(layout.task.process, proc, flags));
    let title = holding_fd.file.title();
    let args = [
        opened.into(),
        holding_fd.number.into(),
        libc::O_CLOEXEC.into(),
    ];
    let what = format!("{title}: keep it for reading");
    layout.call(stage, Call::new(what, libc::SYS_dup3, args));
    let what = format!("{title}: close where it was");
    layout.call(stage, Call::new(what, libc::SYS_close, [opened.into()]));
}

#[cfg(test)]
mod tests {
    use crust_image::Record;
    use crust_model::object::State;
    use crust_proc::smaps::vm_flag as t;

    use super::*;
    use crate::descriptor::table::Table;
    use crate::memory::Mappings;
    use crate::memory::address_space::AddressSpace;
    use crate::memory::area::Area;
    use crate::memory::file_backed::{Behind, FileBacked, PrivateFile, SharedFile};
    use crate::memory::plan::tests::{calls, planned};
    use crate::memory::program::Program;
    use crate::pathless::memfd::Memfd;

    fn memfd(id: u32, name: &str) -> Memfd {
        let mut memfd = Memfd {
            name: name.into(),
            seals: 1,
            ..Memfd::default()
        };
        memfd.pathless.id = id;
        memfd.pathless.contents.size = 5000;
        memfd.pathless.contents.runs.push(0..8192);
        memfd
    }

    fn mapping<const SHARED: bool>(file: u32, start: u64, vm_flags: u64) -> FileBacked<SHARED> {
        FileBacked {
            area: Area {
                start,
                length: 8192,
                vm_flags: vm_flags | t::READ,
            },
            file: Behind::Pathless(file),
            offset: 0,
        }
    }

    /// Returns the records of two processes, the first of which makes two files: one is mapped by both for writing, the
    /// other is run by the second.
    fn records() -> Vec<Record> {
        let shared =
            |start| -> SharedFile { mapping(0, start, t::WRITE | t::MAY_WRITE | t::MAY_SHARE) };
        let code: PrivateFile = mapping(1, 0x50_0000, t::EXEC);
        let mut program = memfd(1, "program");
        program.pathless.is_private = true;
        program.pathless.is_program = true;
        let runs_it = AddressSpace {
            program: Program::Pathless(1),
            ..AddressSpace::default()
        };
        let table = |pid| Table {
            pid,
            ..Table::default()
        };
        [
            table(500).record((0, 0)),
            table(501).record((1, 0)),
            AddressSpace::default().record((0, 0)),
            Mappings(vec![shared(0x20_0000)]).record((0, 0)),
            runs_it.record((1, 0)),
            Mappings(vec![shared(0x30_0000)]).record((1, 0)),
            Mappings(vec![code]).record((1, 0)),
            memfd(0, "data").record((0, 0)),
            program.record((0, program.pathless.id)),
        ]
        .into_iter()
        .collect::<Result<_>>()
        .unwrap()
    }

    #[test]
    fn what_is_run_is_complete_before_others_get_it() {
        let plan = planned(&records()).unwrap();
        let (first, second) = (ProcessId(0).leader(), ProcessId(1).leader());
        assert_eq!(
            calls(&plan, Stage::MapMemory, first),
            [
                "unmap the blank below scratch",
                "unmap the blank above scratch",
                "memfd data: map all of it",
                "memfd program: map all of it",
                "memfd program: read 8 KiB",
                "memfd program: unmap all of it",
                "memory 200000-202000: map",
                "unmap where the vDSO was parked",
            ]
        );
        assert_eq!(
            calls(&plan, Stage::ShareMemory, second),
            [
                "open memfd program",
                "program: move it out of the way",
                "program: close where it was",
                "open memfd program",
                "memory 500000-502000: map",
                "pidfd_open of p0, which has memfd data",
                "take memfd data",
                "close the pidfd",
                "memory 300000-302000: map",
                "close a mapped file",
                "close a mapped file",
            ]
        );
        assert_eq!(
            calls(&plan, Stage::FillMemory, first),
            ["memfd data: read 8 KiB"]
        );
        let sealed = calls(&plan, Stage::SealMemory, first);
        assert_eq!(
            sealed[..7],
            [
                "memfd data: unmap all of it",
                "memfd data: set the times",
                "memfd data: seal",
                "memfd data: close fd 9",
                "memfd program: set the times",
                "memfd program: seal",
                "memfd program: close fd 8",
            ]
        );
    }

    #[test]
    fn pages_behind_the_end_are_an_error() {
        let mut records = records();
        let mut wrong = memfd(2, "wrong");
        wrong.pathless.contents.runs.push(8192..12288);
        records.push(wrong.record((0, 2)).unwrap());
        assert!(planned(&records).is_err());
    }

    #[test]
    fn a_file_that_the_image_lacks_is_an_error() {
        let mut records = records();
        records.truncate(8);
        assert!(planned(&records).is_err());
    }
}
