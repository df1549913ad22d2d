// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The System V segments of a tree, collected as they are found: each once, no matter how many processes attach it, and
//! whether a process outside the tree attaches it too.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::os::fd::AsFd;

use crust_model::image::Owned;
use crust_model::plan::ProcessId;
use crust_model::refusal::{Counterpart, Refusals};
use crust_model::{Error, Result};
use crust_proc::smaps::Vma;
use crust_sys::shm;
use crust_tracee::frozen_process::FrozenProcess;
use nix::errno::Errno;
use nix::sys::stat::fstat;

use super::Segment;
use crate::contents::PageJob;
use crate::pathless::{Unreachable, data, memfd};

/// A segment that will be captured.
struct Kept {
    owner: ProcessId,
    /// The number of mappings of the segment within the tree.
    attached: u64,
    /// The number of mappings in total.
    of_all: u64,
    state: Segment,
    file: File,
}

/// The segments found so far in a tree.
#[derive(Default)]
pub struct FoundSegments {
    known: BTreeMap<i32, std::result::Result<Kept, Unreachable>>,
}

impl FoundSegments {
    /// Records a mapping of a segment. Returns the id and length of the segment, or why it cannot be carried over.
    ///
    /// # Errors
    ///
    /// If the segment cannot be examined.
    pub fn note(
        &mut self,
        process: &FrozenProcess,
        vma: &Vma,
    ) -> Result<std::result::Result<(i32, u64), Unreachable>> {
        // The inode number of a segment is its id (ipc/shm.c:newseg).
        let Ok(id) = i32::try_from(vma.inode) else {
            return Ok(Err(not_found()));
        };
        let found = match self.known.entry(id) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => place.insert(look(process, vma, id)?),
        };
        Ok(match found {
            Ok(kept) => {
                kept.attached += 1;
                kept.owner = kept.owner.min(process.id);
                Ok((id, kept.state.length()))
            }
            Err(why) => Err(why.clone()),
        })
    }

    /// Refuses the segments that processes outside the tree attach too. Call it when all mappings are known.
    pub fn settle(&mut self, tree: &[FrozenProcess], refusals: &mut Refusals) {
        let all = || self.known.values().flatten();
        let Some(maker) = all().map(|kept| kept.owner).min() else {
            return;
        };
        for kept in all() {
            let (pid, state) = (tree[kept.owner.0 as usize].pid, &kept.state);
            let title = format!("System V segment {}", state.id);
            if kept.of_all != kept.attached {
                refusals.block(
                    pid,
                    "sysv-outside",
                    title,
                    format!(
                        "the tree has {} of its {} mappings: after a restore it would have another \
                         segment than programs outside of the tree",
                        kept.attached, kept.of_all,
                    ),
                    "dump a tree that contains all programs that have it attached, or have the \
                     others detach it",
                );
                refusals.held_by(Counterpart::Segment(state.id));
            } else if state.has_huge_pages() && state.creator_uid != 0 {
                refusals.lose(
                    pid,
                    "sysv-creator",
                    title,
                    format!(
                        "it has huge pages, and was made by user {}; a restore makes it as root",
                        state.creator_uid
                    ),
                    "nothing needs to be done, unless somebody looks at its creator (ipcs -c)",
                );
            }
        }
        let maker_pid = tree[maker.0 as usize].pid;
        for kept in self.known.values_mut().flatten() {
            (kept.owner, kept.state.maker) = (maker, maker_pid);
        }
    }

    /// Returns the contents to be copied into the image.
    pub fn into_taken(self) -> impl Iterator<Item = PageJob> {
        self.known.into_values().flatten().map(|kept| {
            let (owner, mut state) = (kept.owner, kept.state);
            let runs = state.contents.runs.clone();
            PageJob::new(kept.file, runs, move |offset| {
                state.contents.offset = offset;
                // An id is never negative.
                Owned::new((owner.0, state.id.unsigned_abs()), state)
            })
        })
    }
}

/// Returns why a segment cannot be carried over whose id says nothing to crust.
fn not_found() -> Unreachable {
    Unreachable::new(
        "ipc-namespace",
        "a System V segment that crust cannot find, because it is in another IPC namespace",
        "run crust in the IPC namespace of the program (nsenter -i)",
    )
}

fn look(
    process: &FrozenProcess,
    vma: &Vma,
    id: i32,
) -> Result<std::result::Result<Kept, Unreachable>> {
    let failed = |errno| Error::task(process.pid, format!("{}: look at it", vma.title()), errno);
    let link = format!("map_files/{}", vma.entry());
    let file = File::from(crust_proc::open(&process.proc, process.pid, &link)?);
    let contents = data::contents(&file).map_err(failed)?;
    let device = memfd::device(contents.huge).map_err(failed)?;
    let segment = match shm::stat(id) {
        Err(Errno::EINVAL | Errno::EIDRM) => None,
        result => Some(result.map_err(failed)?),
    };
    let is_it = fstat(file.as_fd()).map_err(failed)?.st_dev == device;
    let Some(segment) = segment.filter(|segment| is_it && segment.size == contents.size) else {
        return Ok(Err(not_found()));
    };
    Ok(Ok(Kept {
        owner: process.id,
        attached: 0,
        of_all: segment.attached,
        state: Segment {
            id,
            key: segment.key,
            uid: segment.uid,
            gid: segment.gid,
            creator_uid: segment.creator_uid,
            creator_gid: segment.creator_gid,
            mode: segment.mode,
            contents,
            maker: 0,
        },
        file,
    }))
}
