// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The address space of one process being rebuilt, and the steps that rebuild it.

use std::collections::BTreeMap;
use std::ops::Range;

use crust_arch::TASK_SIZE;
use crust_model::plan::{
    Arg, Call, CallRef, Data, Fill, Operation, Plan, Stage, Step, TaskId, reserved, scratch,
};
use crust_model::{Error, Result};

use super::backed::Backed;
use super::file_backed::Behind;
use super::mapped_file::MappedFile;
use super::shared_anonymous::Objects;
use crate::memory::pages::StoredPages;
use crate::memory::segments::Segments;

/// The memory that several processes have.
#[derive(Default)]
pub struct Common<'i> {
    /// The objects of shared memory.
    pub objects: Objects,
    /// The files without a path.
    pub backed: Backed<'i>,
    /// The System V segments.
    pub segments: Segments<'i>,
}

/// The state that kinds use to plan their mappings.
pub struct Layout<'a> {
    /// The task that makes the calls.
    pub task: TaskId,
    /// The objects of shared memory, of all processes.
    pub objects: &'a Objects,
    /// The files without a path, of all processes.
    pub backed: &'a Backed<'a>,
    /// The System V segments, of all processes.
    pub segments: &'a Segments<'a>,
    /// The start addresses, in ascending order, of mappings that get their protection together with a protection key at
    /// the end ([`ProtectionKeys`](super::protection_keys::ProtectionKeys)).
    pub keyed: Vec<u64>,
    plan: &'a mut Plan,
    files: &'a [(MappedFile, bool)],
    pages: Option<&'a StoredPages>,
    kept: &'a [Range<u64>],
    opened: BTreeMap<(Behind, bool), (Stage, Arg)>,
}

impl<'a> Layout<'a> {
    /// Begins with an empty address space: everything in the blank process is unmapped except scratch memory, the
    /// parked vDSO, and what is `kept` because it was inherited.
    pub fn begin(
        plan: &'a mut Plan,
        task: TaskId,
        files: &'a [(MappedFile, bool)],
        pages: Option<&'a StoredPages>,
        common: &'a Common<'a>,
        kept: &'a [Range<u64>],
    ) -> Self {
        let mut layout = Self {
            task,
            objects: &common.objects,
            backed: &common.backed,
            segments: &common.segments,
            keyed: Vec::new(),
            plan,
            files,
            pages,
            kept,
            opened: BTreeMap::new(),
        };
        for call in unmap_others(layout.plan, kept) {
            layout.call(Stage::MapMemory, call);
        }
        layout
    }

    /// Returns whether the memory of a mapping was inherited and is already there.
    #[must_use]
    pub fn keeps(&self, range: &Range<u64>) -> bool {
        let next = self.kept.partition_point(|kept| kept.end <= range.start);
        self.kept.get(next) == Some(range)
    }

    /// Returns the ranges that are occupied before the process's own mappings are made.
    #[must_use]
    pub fn occupied(&self) -> Vec<Range<u64>> {
        let scratch = self.plan.scratch.0..self.plan.scratch.0 + scratch::TOTAL;
        self.kept.iter().cloned().chain([scratch]).collect()
    }

    /// Returns the scratch memory of the executor.
    #[must_use]
    pub fn scratch(&self) -> Range<u64> {
        self.plan.scratch.0..self.plan.scratch.0 + scratch::SIZE
    }

    /// Discards inherited pages: the next read there yields zeros, or the contents of the file.
    pub fn forget(&mut self, range: &Range<u64>) {
        let call = Call::new(
            format!("forget {:x}-{:x}", range.start, range.end),
            libc::SYS_madvise,
            [
                range.start.into(),
                (range.end - range.start).into(),
                libc::MADV_DONTNEED.into(),
            ],
        );
        self.call(Stage::MapMemory, call);
    }

    /// Adds a step that reads pages, if there are any.
    pub fn fill(&mut self, stage: Stage, fill: Fill) {
        if !fill.pages.is_empty() {
            self.step(stage, Step::Fill(fill));
        }
    }

    /// Adds a call.
    pub fn call(&mut self, stage: Stage, call: Call) -> CallRef {
        self.plan.call(stage, self.task, call)
    }

    /// Adds a call of another thread of the process.
    pub fn call_of(&mut self, thread: u32, stage: Stage, call: Call) {
        let task = self.of_thread(thread);
        self.plan.call(stage, task, call);
    }

    /// Adds a step of another thread of the process.
    pub fn step_of(&mut self, thread: u32, stage: Stage, step: Step) {
        let task = self.of_thread(thread);
        self.plan.step(stage, task, step);
    }

    /// Adds an operation of another thread of the process.
    pub fn operate_of(&mut self, thread: u32, stage: Stage, operation: impl Operation + 'static) {
        let task = self.of_thread(thread);
        self.plan.operate(stage, task, operation);
    }

    fn of_thread(&self, thread: u32) -> TaskId {
        TaskId {
            thread,
            ..self.task
        }
    }

    /// Adds a step that is no call.
    pub fn step(&mut self, stage: Stage, step: Step) {
        self.plan.step(stage, self.task, step);
    }

    /// Returns the range where the vDSO of the blank process is parked.
    #[must_use]
    pub fn park(&self) -> Range<u64> {
        let start = self.plan.scratch.0 + scratch::PARKED;
        start..start + scratch::PARK_SIZE
    }

    /// Returns the number of a descriptor that the executor keeps open, see [`reserved`].
    #[must_use]
    pub fn reserved(&self, which: i32) -> i32 {
        self.plan.reserved_fds + which
    }

    /// Returns a temporary descriptor number for use within one stage.
    #[must_use]
    pub fn temporary(&self) -> i32 {
        self.plan.temporary_fd(self.task.process)
    }

    /// Returns whether the image has pages for this range.
    #[must_use]
    pub fn fills(&self, range: &Range<u64>) -> bool {
        self.pages.is_some_and(|pages| pages.touch(range))
    }

    /// Returns the descriptor of a file, opened once for all its mappings, and the stage in which
    /// these are made: files that another process makes are mapped after the process's own memory.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Malformed`] if the image has no such file.
    pub fn open(&mut self, file: Behind, writable: bool) -> Result<(Stage, Arg)> {
        if let Some(opened) = self.opened.get(&(file, writable)) {
            return Ok(opened.clone());
        }
        let opened = match file {
            Behind::Named(place) => self.open_named(place, writable),
            Behind::Pathless(id) => self.open_unnamed(id, writable),
        }?;
        self.opened.insert((file, writable), opened.clone());
        Ok(opened)
    }

    fn open_named(&mut self, file: u32, writable: bool) -> Result<(Stage, Arg)> {
        let Some((mapped, _)) = self.files.get(file as usize) else {
            return Err(Error::malformed(
                format!("mappings of {}", self.task.process),
                format!("there is no mapped file {file}"),
            ));
        };
        let mode = if writable {
            libc::O_RDWR
        } else {
            libc::O_RDONLY
        };
        let call = open_call(mapped, mode);
        let opened = self.call(Stage::MapMemory, call);
        Ok((Stage::MapMemory, opened.into()))
    }

    fn open_unnamed(&mut self, id: u32, writable: bool) -> Result<(Stage, Arg)> {
        let backed = self.backed;
        let holding_fd = backed.holding_fd(id)?;
        let process = self.task.process;
        let stage = if holding_fd.process == process {
            Stage::MapMemory
        } else {
            Stage::ShareMemory
        };
        let opened = if !writable {
            let proc = self.reserved(reserved::PROC);
            let flags = libc::O_RDONLY | libc::O_CLOEXEC;
            self.call(stage, holding_fd.open(process, proc, flags))
                .into()
        } else if holding_fd.process == process {
            holding_fd.number.into()
        } else {
            // Do not open it again: for a memfd that would count as a writer.
            let pidfd = self.call(stage, holding_fd.open_maker());
            let taken = self.call(stage, holding_fd.take(pidfd.into()));
            let close = Call::new("close the pidfd", libc::SYS_close, [pidfd.into()]);
            self.call(stage, close);
            taken.into()
        };
        Ok((stage, opened))
    }

    /// Ends the layout once everything is mapped: nothing used in the preparation stays.
    pub fn end(mut self) {
        for (stage, opened) in std::mem::take(&mut self.opened).into_values() {
            // An argument that is no result is a number that the process keeps for longer.
            if let Arg::Returned(_) = opened {
                let close = Call::new("close a mapped file", libc::SYS_close, [opened]);
                self.call(stage, close);
            }
        }
        let park = unmap("where the vDSO was parked", &self.park());
        self.call(Stage::MapMemory, park);
    }
}

fn unmap(what: &str, range: &Range<u64>) -> Call {
    Call::new(
        format!("unmap {what}"),
        libc::SYS_munmap,
        [range.start.into(), (range.end - range.start).into()],
    )
}

/// Unmaps everything except scratch memory and the `kept` ranges, which are sorted.
pub fn unmap_others(plan: &Plan, kept: &[Range<u64>]) -> Vec<Call> {
    let scratch = plan.scratch.0..plan.scratch.0 + scratch::TOTAL;
    let below = kept.partition_point(|range| range.start < scratch.start);
    let (below, above) = kept.split_at(below);
    let mut calls = Vec::new();
    let mut start = 0;
    for range in below.iter().chain([&scratch]).chain(above) {
        if start < range.start {
            let what = match start < scratch.start {
                true => "the blank below scratch",
                false => "the blank above scratch",
            };
            calls.push(unmap(what, &(start..range.start)));
        }
        start = range.end;
    }
    calls.push(unmap("the blank above scratch", &(start..TASK_SIZE)));
    calls
}

/// Returns the call that opens a file by its path.
pub fn open_call(file: &MappedFile, mode: i32) -> Call {
    Call::new(
        format!("open {}", String::from_utf8_lossy(&file.path)),
        libc::SYS_openat,
        [
            libc::AT_FDCWD.into(),
            Data::string(&file.path).into(),
            (mode | libc::O_CLOEXEC).into(),
            0.into(),
        ],
    )
}
