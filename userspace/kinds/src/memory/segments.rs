// SPDX-License-Identifier: Apache-2.0 OR MIT

//! System V segments while they are restored: one process makes them all, and fills them at addresses that no process
//! of the image uses; then each process attaches what it had ([`attach`](crate::memory::attach)).

use std::collections::BTreeMap;
use std::ops::Range;

use crust_model::image::Image;
use crust_model::plan::{Arg, Call, CallRef, Data, ProcessId, Stage, reserved};
use crust_model::{Error, Result};
use crust_sys::{shm, word};

use crate::ipc::sysv_shm::Segment;
use crate::memory::layout::Layout;
use crate::ranges::holes::Holes;

/// The file under `/proc` that sets the number of the next segment.
const NEXT_ID: &str = "sys/kernel/shm_next_id";

impl Segment {
    fn call(&self, what: &str, nr: i64, args: impl Into<Vec<Arg>>) -> Call {
        Call::new(format!("{}: {what}", self.title()), nr, args)
    }

    fn control(&self, what: &str, command: i32, argument: Arg) -> Call {
        let args = [self.id.into(), command.into(), argument];
        self.call(what, libc::SYS_shmctl, args)
    }

    /// Makes the segment with `shmget`, as the user who made it. Huge pages are only given to users
    /// who may have them, so root makes these.
    fn make(&self, layout: &mut Layout<'_>) {
        let creator = if self.has_huge_pages() {
            (0, 0)
        } else {
            (self.creator_uid, self.creator_gid)
        };
        let mode = word::to_int(u64::from(self.mode & 0o777));
        let mut flags = libc::IPC_CREAT | libc::IPC_EXCL | mode;
        if self.has_huge_pages() {
            flags |= libc::SHM_HUGETLB | i32::from(self.contents.huge) << libc::MAP_HUGE_SHIFT;
        }
        let args = [self.key.into(), self.contents.size.into(), flags.into()];
        let make = self.call("make", libc::SYS_shmget, args);
        let mut calls = vec![make.must_return(word::from_int(self.id))];
        if creator != (0, 0) {
            let become_id = |nr, id: u32| {
                let args = [Arg::from(-1), u64::from(id).into(), Arg::from(-1)];
                self.call("change who makes it", nr, args)
            };
            // A user other than root cannot change the group, so change it first.
            calls.insert(0, become_id(libc::SYS_setresgid, creator.1));
            calls.insert(1, become_id(libc::SYS_setresuid, creator.0));
            calls.push(become_id(libc::SYS_setresuid, 0));
            calls.push(become_id(libc::SYS_setresgid, 0));
        }
        if (self.uid, self.gid) != creator {
            let permissions = self.permissions().into();
            calls.push(self.control("set the owner", libc::IPC_SET, permissions));
        }
        for call in calls {
            layout.call(Stage::MapMemory, call);
        }
    }

    /// Returns the `struct shmid_ds`, of which `IPC_SET` uses owner and permissions.
    fn permissions(&self) -> Data {
        let mut bytes = vec![0; 112];
        for (at, number) in [(4, self.uid), (8, self.gid), (20, self.mode & 0o777)] {
            bytes[at..at + 4].copy_from_slice(&number.to_ne_bytes());
        }
        Data::new(bytes)
    }
}

/// A segment while it is restored.
struct Placed<'i> {
    segment: &'i Segment,
    /// The range where its maker attaches it to fill it.
    at: Range<u64>,
    /// The address where other processes temporarily attach all of it, if they have parts of it.
    aside: u64,
}

/// The segments of an image.
#[derive(Default)]
pub struct Segments<'i> {
    all: BTreeMap<i32, Placed<'i>>,
    maker: Option<ProcessId>,
}

impl<'i> Segments<'i> {
    /// Finds address ranges for the segments.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Malformed`] if there is no room, or the records contradict each other.
    pub fn of(image: &'i Image, holes: &mut Holes) -> Result<Self> {
        let (mut all, mut maker) = (BTreeMap::new(), None);
        for (owner, segment) in image.all::<Segment>() {
            maker = Some(owner.process());
            let (id, length) = (segment.id, segment.length());
            let page = 1_u64.checked_shl(segment.contents.huge.into()).unwrap_or(0);
            let malformed = |problem| Error::malformed(format!("segment {id}"), problem);
            let last = segment.contents.runs.ranges().last();
            if last.is_some_and(|last| last.end > length) {
                return Err(malformed("it has pages behind its end"));
            }
            let start = length
                .checked_mul(2)
                .and_then(|both| holes.take_aligned(both, page))
                .ok_or_else(|| malformed("there is no room for it"))?;
            let placed = Placed {
                segment,
                at: start..start + length,
                aside: start + length,
            };
            if all.insert(id, placed).is_some() {
                return Err(malformed("is there twice"));
            }
        }
        Ok(Self { all, maker })
    }

    /// Returns a segment, and the address where all of it can be attached temporarily.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Malformed`] if the image does not have it.
    pub fn get(&self, id: i32) -> Result<(&Segment, u64)> {
        let placed = self.all.get(&id).ok_or_else(|| {
            Error::malformed(format!("segment {id}"), "the image does not have it")
        })?;
        Ok((placed.segment, placed.aside))
    }

    fn of_process(&self, process: ProcessId) -> impl Iterator<Item = &Placed<'i>> {
        let is_maker = self.maker == Some(process);
        is_maker.then(|| self.all.values()).into_iter().flatten()
    }

    /// Makes the segments, all in one process: the kernel has a single number for the next segment.
    pub fn make(&self, layout: &mut Layout<'_>) {
        let stage = Stage::MapMemory;
        let mut opened = None;
        for Placed { segment, at, .. } in self.of_process(layout.task.process) {
            let next_id: Arg = match opened {
                Some(opened) => opened,
                None => *opened.insert(open_next_id(layout)),
            }
            .into();
            let text = segment.id.to_string();
            let length = text.len() as u64;
            let args = [next_id, Data::new(text).into(), length.into(), 0.into()];
            let write = segment.call("say its number", libc::SYS_pwrite64, args);
            layout.call(stage, write.must_return(length));
            segment.make(layout);
            if !segment.contents.runs.ranges().is_empty() {
                let args = [segment.id.into(), at.start.into(), 0.into()];
                let attach = segment.call("attach all of it", libc::SYS_shmat, args);
                layout.call(stage, attach.must_return(at.start));
            }
        }
        if let Some(opened) = opened {
            let what = "close the number of the next segment";
            layout.call(stage, Call::new(what, libc::SYS_close, [opened.into()]));
        }
    }

    /// Reads the contents of the segments.
    pub fn fill(&self, layout: &mut Layout<'_>) {
        for Placed { segment, at, .. } in self.of_process(layout.task.process) {
            let title = segment.title();
            let stage = Stage::FillMemory;
            segment.contents.fill(&title, stage, at.start, layout);
        }
    }

    /// Detaches the segments where they were filled, and sets what would have interfered before.
    pub fn release(&self, layout: &mut Layout<'_>) {
        let stage = Stage::SealMemory;
        for Placed { segment, at, .. } in self.of_process(layout.task.process) {
            if segment.mode & shm::LOCKED != 0 {
                layout.call(stage, segment.control("lock", libc::SHM_LOCK, 0.into()));
            }
            if !segment.contents.runs.ranges().is_empty() {
                let args = [at.start.into()];
                let detach = segment.call("detach where it was filled", libc::SYS_shmdt, args);
                layout.call(stage, detach);
            }
            if segment.mode & shm::DEST != 0 {
                let remove = segment.control("mark as removed", libc::IPC_RMID, 0.into());
                layout.call(stage, remove);
            }
        }
    }
}

fn open_next_id(layout: &mut Layout<'_>) -> CallRef {
    let call = Call::new(
        format!("open /proc/{NEXT_ID}"),
        libc::SYS_openat,
        [
            layout.reserved(reserved::PROC).into(),
            Data::string(NEXT_ID).into(),
            (libc::O_WRONLY | libc::O_CLOEXEC).into(),
            0.into(),
        ],
    );
    layout.call(Stage::MapMemory, call)
}
