// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Checks whether a process outside the tree also has one of the tree's pathless files: a restore would give the tree a
//! file of its own, and neither side would see what the other writes. (If neither writes, as with a program or library
//! that was replaced, that does not matter.)
//!
//! No kernel interface tells who has a file, so the `(deleted)` descriptors, mappings and programs of all other
//! processes are examined, but only if the tree has such files. A process that only has the file in flight, or that
//! crust may not examine, is not found.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crust_model::refusal::Refusals;
use crust_tracee::frozen_process::FrozenProcess;
use crust_tracee::parallel;
use nix::fcntl::{AtFlags, OFlag, open, readlinkat};
use nix::sys::stat::{Mode, fstatat};

use super::ghost::DELETED;

/// A device and an inode number.
pub(super) type Inode = (u64, u64);

/// A process that has a file, and the link in its `/proc/PID` that leads to it.
struct Holder {
    pid: i32,
    inode: Inode,
    link: String,
    writes: bool,
}

/// A pathless file of the tree.
pub(super) struct Ours {
    /// The first process that has it.
    pub pid: i32,
    /// The name of the file in messages.
    pub title: String,
    /// Whether the tree may write to it.
    pub is_written: bool,
}

/// Refuses the files of `files` that processes outside the tree have too, if either side may write to them.
pub(super) fn refuse(
    files: &BTreeMap<Inode, Ours>,
    tree: &[FrozenProcess],
    refusals: &mut Refusals,
) {
    if files.is_empty() {
        return;
    }
    let mut known: BTreeSet<i32> = tree.iter().map(|process| process.pid).collect();
    // crust itself has the files open.
    known.insert(nix::unistd::getpid().as_raw());
    let others: Vec<i32> = crust_proc::pids()
        .filter(|pid| !known.contains(pid))
        .collect();
    let found = parallel::map(&others, 16, |&pid| held_by(pid, files));
    let mut told = BTreeSet::new();
    for holder in found.into_iter().flatten() {
        let ours = &files[&holder.inode];
        if (ours.is_written || holder.writes) && told.insert(holder.inode) {
            refusals.block(
                ours.pid,
                "file-shared-outside",
                ours.title.as_str(),
                format!(
                    "{}, which is not in the tree, has it too ({}): it would have another file than the \
                     restored program",
                    crust_proc::named(holder.pid),
                    holder.link
                ),
                "dump a tree that contains that process, or have it close the file",
            );
        }
    }
}

/// Returns which of `files` a process has: none if it exits meanwhile.
fn held_by<T>(pid: i32, files: &BTreeMap<Inode, T>) -> Vec<Holder> {
    let Some((proc, maps)) = living(pid) else {
        return Vec::new();
    };
    let mapped = maps.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(DELETED)?;
        let mut words = line.split(|byte| *byte == b' ');
        let range = std::str::from_utf8(words.next()?).ok()?;
        // A shared mapping that is not writable now may become so later.
        let is_shared = words.next()?.get(3) == Some(&b's');
        Some((format!("map_files/{range}"), is_shared))
    });
    let numbers = crust_proc::numbers(&proc, pid, "fd").unwrap_or_default();
    let open = numbers.into_iter().filter_map(|number| {
        let link = format!("fd/{number}");
        let target = readlinkat(proc.as_fd(), link.as_str()).ok()?;
        let is_deleted = target.as_bytes().ends_with(DELETED);
        is_deleted.then(|| (link, writes(&proc, pid, number)))
    });
    mapped
        .chain(open)
        .filter_map(|(link, writes)| {
            let there = fstatat(proc.as_fd(), link.as_str(), AtFlags::empty()).ok()?;
            let inode = (there.st_dev, there.st_ino);
            files.contains_key(&inode).then_some(Holder {
                pid,
                inode,
                link,
                writes,
            })
        })
        .collect()
}

/// Opens a process in `/proc` and reads its mappings; `None` if it has none, like a kernel thread. If the thread group
/// leader has exited, another thread is read.
fn living(pid: i32) -> Option<(OwnedFd, Vec<u8>)> {
    let look = |tid: i32| {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let proc = open(format!("/proc/{tid}").as_str(), flags, Mode::empty()).ok()?;
        let maps = crust_proc::read(&proc, tid, "maps").unwrap_or_default();
        Some((proc, maps))
    };
    let (proc, maps) = look(pid)?;
    if !maps.is_empty() {
        return Some((proc, maps));
    }
    let threads = crust_proc::numbers(&proc, pid, "task").unwrap_or_default();
    let mut others = threads.into_iter().filter(|tid| *tid != pid);
    others.find_map(|tid| look(tid).filter(|(_, maps)| !maps.is_empty()))
}

/// Returns whether a file descriptor is open for writing.
fn writes(proc: &OwnedFd, pid: i32, number: i32) -> bool {
    let info = crust_proc::read_text(proc, pid, &format!("fdinfo/{number}")).unwrap_or_default();
    let flags = crust_proc::Fields::new(info)
        .get("flags")
        .and_then(|flags| i32::from_str_radix(flags, 8).ok());
    flags.is_none_or(|flags| flags & libc::O_PATH == 0 && flags & libc::O_ACCMODE != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    #[test]
    fn what_we_have_ourselves_is_found() {
        let file = File::from(memfd_create(c"ours", MFdFlags::MFD_CLOEXEC).unwrap());
        let found = file.metadata().unwrap();
        let inode = (found.dev(), found.ino());
        let us = std::process::id() as i32;
        let held = held_by(us, &BTreeMap::from([(inode, ())]));
        assert_eq!(held.len(), 1);
        assert_eq!(held[0].link, format!("fd/{}", file.as_raw_fd()));
        assert!(held[0].writes);
        let other = (inode.0, inode.1 + 100_000);
        assert!(held_by(us, &BTreeMap::from([(other, ())])).is_empty());
    }

    #[test]
    fn nobody_outside_has_our_own_file() {
        let file = File::from(memfd_create(c"ours", MFdFlags::MFD_CLOEXEC).unwrap());
        let found = file.metadata().unwrap();
        let mut refusals = Refusals::default();
        let ours = Ours {
            pid: 1,
            title: "memfd ours".into(),
            is_written: true,
        };
        let files = BTreeMap::from([((found.dev(), found.ino()), ours)]);
        refuse(&files, &[], &mut refusals);
        assert!(!refusals.forbid());
    }
}
