// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Objects that different processes share, by `clone(2)` with `CLONE_FILES`, `CLONE_FS` or `CLONE_VM`.
//!
//! `kcmp` compares the objects of two tasks, and its result is an ordering, so that tasks that share are found by
//! sorting. A restored process shares with its parent, by the same flags; there is no other way to share.

use std::cmp::Ordering;

use crust_model::{Error, Result};
use crust_sys::kcmp::{self, Kind};
use crust_tracee::frozen_process::FrozenProcess;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::bisect::bisect;
use crate::capture::Capture;

/// What a process shares with its parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharing {
    /// The descriptor table.
    pub files: bool,
    /// The working directory, root directory and umask.
    pub directories: bool,
}

impl Sharing {
    /// Returns the flags of `clone` that make a child share the same objects.
    #[must_use]
    pub fn flags(self) -> u64 {
        let flag = |shared, flag| if shared { flag } else { 0 };
        flag(self.files, libc::CLONE_FILES as u64) | flag(self.directories, libc::CLONE_FS as u64)
    }
}

/// Determines what the processes of a tree share with their parents, and refuses sharing that is not supported.
///
/// # Errors
///
/// If a process has died.
pub fn look(capture: &mut Capture<'_>) -> Result<Vec<Sharing>> {
    let mut all = vec![Sharing::default(); capture.tree.len()];
    for (kind, what) in [
        (Kind::Vm, "address space"),
        (Kind::Fs, "working directory and umask"),
        (Kind::Files, "table of descriptors"),
    ] {
        let firsts = firsts(capture.tree, kind)?;
        for (process, first) in capture.tree.iter().zip(&firsts) {
            let parent = process.parent.map(|parent| parent.0 as usize);
            let with = match first {
                // There are too many processes outside the tree to examine; the parent is the most likely sharer.
                _ if parent.is_none() => sharer_outside(process, kind)?,
                Some(first) if *first != process.id.0 as usize => Some(capture.tree[*first].pid),
                _ => None,
            };
            let Some(with) = with.map(crust_proc::named) else {
                continue;
            };
            let is_of_parent = parent.is_some_and(|parent| firsts[parent] == *first);
            let sharing = &mut all[process.id.0 as usize];
            match kind {
                Kind::Files if capture.tree[with_number(*first)].ended_leader.is_some() => {
                    capture.refusals.block(
                        process.pid,
                        "shared-with-ended",
                        what,
                        format!("it is shared with {with}, whose first thread has ended"),
                        "dump it when one of them has called exec or has ended",
                    );
                }
                Kind::Files if is_of_parent => sharing.files = true,
                // The root directory changes while others still open files.
                Kind::Fs if is_of_parent && has_root_of_its_own(process)? => capture.refusals.block(
                    process.pid,
                    "shared-root-directory",
                    what,
                    format!("it is shared with {with}, and so is another root directory (chroot)"),
                    "dump it when one of them has called exec or has ended",
                ),
                Kind::Fs if is_of_parent => sharing.directories = true,
                Kind::Vm => capture.refusals.block(
                    process.pid,
                    "shared-memory-of-clone",
                    what,
                    format!("it is shared with {with} (vfork, or clone with CLONE_VM)"),
                    "try again when the child has called exec or has ended, which the child of a vfork does soon",
                ),
                _ => capture.refusals.block(
                    process.pid,
                    "shared-with-other",
                    what,
                    format!(
                        "it is shared with {with} (clone with CLONE_FILES or CLONE_FS), which is not its \
                         parent in the tree"
                    ),
                    "dump it when one of them has called exec or has ended",
                ),
            }
        }
    }
    Ok(all)
}

fn has_root_of_its_own(process: &FrozenProcess) -> Result<bool> {
    let root = crust_proc::link(&process.proc, process.pid, "root")?;
    Ok(root != std::path::Path::new("/"))
}

fn with_number(first: Option<usize>) -> usize {
    first.unwrap_or_default()
}

/// Returns for each process the first one that has the same object; `None` for zombies.
fn firsts(tree: &[FrozenProcess], kind: Kind) -> Result<Vec<Option<usize>>> {
    let mut sorted: Vec<usize> = Vec::new();
    let mut firsts = Vec::new();
    for (number, process) in tree.iter().enumerate() {
        if process.leader().is_none() {
            firsts.push(None);
            continue;
        }
        let task = process.task();
        let compare = |&known: &usize| {
            kcmp::tasks(tree[known].task(), task, kind)
                .map_err(|errno| Error::task(task, "kcmp", errno))
        };
        firsts.push(Some(match bisect(&sorted, compare)? {
            Ok(found) => sorted[found],
            Err(place) => {
                sorted.insert(place, number);
                number
            }
        }));
    }
    Ok(firsts)
}

/// Returns the parent of the root if the two share the object.
fn sharer_outside(root: &FrozenProcess, kind: Kind) -> Result<Option<i32>> {
    if root.leader().is_none() {
        return Ok(None);
    }
    let parent = crust_proc::stat(&root.proc, root.pid, "stat")?.int(4);
    match kcmp::tasks(parent, root.task(), kind) {
        Ok(Ordering::Equal) => Ok(Some(parent)),
        // The parent may be in another namespace, or have exited.
        Ok(_) | Err(Errno::ESRCH | Errno::EPERM | Errno::EINVAL) => Ok(None),
        Err(errno) => Err(Error::task(root.pid, "kcmp with its parent", errno)),
    }
}
