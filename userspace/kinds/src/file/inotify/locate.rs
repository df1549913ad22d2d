// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Locates the files of watches: a watch refers to an inode, and a restore needs a path.
//!
//! A file system finds the inode by its file handle, and the `/proc` link of the opened file shows its current path,
//! even if it was renamed. Where there are no handles (overlayfs, FUSE), crust tries the paths that the tree itself
//! uses: those of open files, working directories and arguments, and the directories that contain them.
//!
//! The kernel itself tells whether a path leads to the watched inode: a watch of our own on the path shows how the
//! kernel identifies it. Nothing here opens a file for reading or writing, so no watch reports it.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::{fs, thread};

use crust_model::{Error, Result};
use crust_sys::statx;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, readlink};
use nix::sched::{CloneFlags, unshare};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::unistd::chdir;

use super::fdinfo::{self, Mark};
use super::mounts::{self, Mount};
use crate::path::{Named, sibling};
use crate::pathless::ghost::DELETED;

/// Why the file of a watch was not found; the more specific reasons come last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// The file system of the file is not mounted.
    Unmounted,
    /// The file system, of this type and mounted at this path, does not find files by handle.
    Opaque(String, PathBuf),
    /// Crust may not open files by handle.
    Forbidden,
    /// The file is in the file system mounted at this path, but no path is known to lead to it.
    Pathless(PathBuf),
    /// The file was deleted, and had this path.
    Deleted(PathBuf),
}

impl Lost {
    /// Returns what is wrong with the watch, and what can be done.
    #[must_use]
    pub fn explain(&self, mark: &Mark) -> (String, String) {
        const REMOVE: &str = "have the program remove the watch before the dump";
        let (wd, ino) = (mark.wd, mark.ino);
        match self {
            Self::Unmounted => (
                format!("watch {wd} is of inode {ino} in a file system that is mounted nowhere: a pipe, a socket or a memfd"),
                REMOVE.into(),
            ),
            Self::Opaque(kind, point) => (
                format!(
                    "watch {wd} is of inode {ino} in {}, whose file system ({kind}) cannot find files by their handles, and \
                     nothing that the program has open, or was started with, leads to it",
                    point.display()
                ),
                "have the program keep the file open for the dump, or remove the watch".into(),
            ),
            Self::Forbidden => (
                format!("watch {wd} is of inode {ino}, which crust is not permitted to find by its handle"),
                "run crust as root: that takes CAP_DAC_READ_SEARCH".into(),
            ),
            Self::Pathless(point) => (
                format!(
                    "watch {wd} is of inode {ino} in {}, to which the kernel knows no path at the moment",
                    point.display()
                ),
                format!(
                    "look the file up, so that the kernel knows it again (find {} -xdev -inum {ino}); if something is \
                     mounted over it, unmount that",
                    point.display()
                ),
            ),
            Self::Deleted(path) => (
                format!(
                    "watch {wd} is of {}, which was deleted, and which somebody still has open",
                    path.display()
                ),
                "close it in the programs that have it open, which ends the watch, or have the program remove the watch".into(),
            ),
        }
    }
}

/// The result of the search for the file of a watch.
pub type Found = std::result::Result<Named, Lost>;

/// Finds the files of watches, in the order of `marks`. `candidates` are paths that may lead to
/// them.
///
/// # Errors
///
/// Returns an error if the kernel cannot be queried.
pub fn files(marks: &[Mark], candidates: impl FnOnce() -> BTreeSet<PathBuf>) -> Result<Vec<Found>> {
    let mounts = mounts::all()?;
    let witness = Witness::new()?;
    // The kernel looks up a handle in the mount of a descriptor that is open for reading, or of the working directory
    // (fs/fhandle.c:get_path_anchor). Watches report opening a directory, but not changing to it.
    let mut found = thread::scope(|scope| {
        let search = || {
            unshare(CloneFlags::CLONE_FS)
                .map_err(|errno| Error::system("unshare(CLONE_FS)", errno))?;
            by_handles(marks, &mounts, &witness)
        };
        let search = scope.spawn(search).join();
        search.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let is_open = |found: &Found| !matches!(found, Ok(_) | Err(Lost::Deleted(_)));
    if found.iter().any(is_open) {
        let points = mounts.iter().map(|mount| mount.point.clone());
        for path in candidates().into_iter().chain(points) {
            let Some(shown) = witness.look(&path)? else {
                continue;
            };
            for (mark, found) in marks.iter().zip(&mut found) {
                if is_open(found) && mark.is_of_same_file(&shown) {
                    if let Some(named) = named(&path) {
                        *found = Ok(named);
                    }
                }
            }
        }
    }
    Ok(found)
}

/// Searches by handle, which changes the working directory of the thread.
fn by_handles(marks: &[Mark], mounts: &[Mount], witness: &Witness) -> Result<Vec<Found>> {
    let mut found: Vec<Found> = vec![Err(Lost::Unmounted); marks.len()];
    for mount in mounts {
        let is_here = |(mark, found): &(&Mark, &mut Found)| {
            mark.dev == mount.dev && !matches!(found, Ok(_) | Err(Lost::Deleted(_)))
        };
        let mut here = marks.iter().zip(&mut found).filter(is_here).peekable();
        if here.peek().is_none() {
            continue;
        }
        // A mount on a file that is not a directory cannot be changed to.
        let is_entered = chdir(&mount.point).is_ok();
        for (mark, found) in here {
            let result = match is_entered {
                true => by_handle(mark, mount, witness)?,
                false => Err(Lost::Pathless(mount.point.clone())),
            };
            match (&*found, &result) {
                (Err(before), Err(now)) if before > now => {}
                _ => *found = result,
            }
        }
    }
    Ok(found)
}

/// Looks for the file of a watch in the file system of the working directory.
fn by_handle(mark: &Mark, mount: &Mount, witness: &Witness) -> Result<Found> {
    let opaque = Lost::Opaque(mount.file_system.clone(), mount.point.clone());
    let Some(handle) = &mark.handle else {
        return Ok(Err(opaque));
    };
    let file = match handle.open(AT_FDCWD, OFlag::O_PATH | OFlag::O_CLOEXEC) {
        Ok(file) => file,
        Err(Errno::EPERM) => return Ok(Err(Lost::Forbidden)),
        Err(_) => return Ok(Err(opaque)),
    };
    let path = path_of(&file)?;
    if let Some(named) = witness.named(&path, mark)? {
        return Ok(Ok(named));
    }
    let Some(plain) = path.as_os_str().as_bytes().strip_suffix(DELETED) else {
        return Ok(Err(Lost::Pathless(mount.point.clone())));
    };
    let there = statx::identity(&file, c"", libc::AT_EMPTY_PATH)
        .map_err(|errno| Error::system("statx of a watched file", errno))?;
    if there.links == 0 {
        let path = OsStr::from_bytes(plain).into();
        return Ok(Err(Lost::Deleted(path)));
    }
    // One of the names of the file was removed.
    if let Some(other) = sibling::find(plain, there.dev, there.ino) {
        let path: PathBuf = OsString::from_vec(other).into();
        if let Some(named) = witness.named(&path, mark)? {
            return Ok(Ok(named));
        }
    }
    Ok(Err(Lost::Pathless(mount.point.clone())))
}

fn path_of(file: &OwnedFd) -> Result<PathBuf> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let path = readlink(link.as_str())
        .map_err(|errno| Error::system("read the link of a watched file", errno))?;
    Ok(path.into())
}

/// Returns the path and identity of the file at a path, without its size, which does not matter for
/// a watch.
fn named(path: &Path) -> Option<Named> {
    let text = Some(path.as_os_str().as_bytes()).filter(|text| text.starts_with(b"/"))?;
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    let there = statx::identity(AT_FDCWD, &CString::new(text).ok()?, flags).ok()?;
    Some(Named {
        size: 0,
        ..Named::new(text, &there)
    })
}

/// An inotify instance of our own, which shows how the kernel identifies the file at a path.
struct Witness(Inotify);

impl Witness {
    fn new() -> Result<Self> {
        let instance = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
        instance
            .map(Self)
            .map_err(|errno| Error::system("inotify_init1", errno))
    }

    /// Returns the file of a watch, if this path leads to it.
    fn named(&self, path: &Path, mark: &Mark) -> Result<Option<Named>> {
        let Some(named) = named(path) else {
            return Ok(None);
        };
        // On most file systems the result of `stat` suffices.
        if (named.dev, named.ino) == (mark.dev, mark.ino) {
            return Ok(Some(named));
        }
        let shown = self.look(path)?;
        let leads = shown.is_some_and(|shown| shown.is_of_same_file(mark));
        Ok(leads.then_some(named))
    }

    /// Returns what the kernel shows of a watch on this path; `None` if it cannot be watched.
    fn look(&self, path: &Path) -> Result<Option<Mark>> {
        let mask = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_DONT_FOLLOW;
        if !path.is_absolute() {
            return Ok(None);
        }
        let Ok(watch) = self.0.add_watch(path, mask) else {
            return Ok(None);
        };
        let info = format!("/proc/self/fdinfo/{}", self.0.as_fd().as_raw_fd());
        let text = fs::read_to_string(&info).map_err(|error| {
            Error::from_io("read fdinfo of an inotify instance of crust", &error)
        })?;
        // The watch is already gone if the file was deleted meanwhile.
        let _ = self.0.rm_watch(watch);
        let marks = fdinfo::marks(&text).map_err(|line| Error::malformed("fdinfo", line))?;
        Ok(marks.into_iter().next())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Creates files with these names in a temporary directory, watches them, and returns the
    /// directory, the instance and its watches.
    fn watched(names: &[&str]) -> (tempfile::TempDir, Inotify, Vec<Mark>) {
        let place = tempfile::tempdir().unwrap();
        let instance = Inotify::init(InitFlags::IN_CLOEXEC).unwrap();
        for name in names {
            let path = place.path().join(name);
            match *name {
                "directory" => fs::create_dir(&path).unwrap(),
                "link" => symlink("/nowhere", &path).unwrap(),
                _ => fs::write(&path, "").unwrap(),
            }
            let mask = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_DONT_FOLLOW;
            instance.add_watch(&path, mask).unwrap();
        }
        let info = format!("/proc/self/fdinfo/{}", instance.as_fd().as_raw_fd());
        let text = fs::read_to_string(info).unwrap();
        let mut marks = fdinfo::marks(&text).unwrap();
        marks.reverse();
        (place, instance, marks)
    }

    fn find(marks: &[Mark], candidates: &[PathBuf]) -> Vec<Found> {
        files(marks, || candidates.iter().cloned().collect()).unwrap()
    }

    /// Returns whether crust may look for files by handle, as only root may.
    fn is_allowed(found: &[Found]) -> bool {
        !found.contains(&Err(Lost::Forbidden))
    }

    #[test]
    fn files_are_found_where_they_are_now() {
        let (place, _instance, marks) = watched(&["file", "directory", "link"]);
        let wds: Vec<i32> = marks.iter().map(|mark| mark.wd).collect();
        assert_eq!(wds, [1, 2, 3]);
        let at = |name: &str| place.path().join(name);
        fs::rename(at("file"), at("directory/renamed (deleted)")).unwrap();
        let found = find(&marks, &[]);
        if is_allowed(&found) {
            for (found, name) in
                found
                    .iter()
                    .zip(["directory/renamed (deleted)", "directory", "link"])
            {
                let path = &found.as_ref().unwrap().path.0;
                assert_eq!(path, at(name).as_os_str().as_bytes());
            }
        }
    }

    #[test]
    fn a_file_without_a_handle_is_found_among_the_candidates() {
        let (place, _instance, mut marks) = watched(&["file", "link"]);
        for mark in &mut marks {
            mark.handle = None;
        }
        let candidates = ["other", "file", "link"].map(|name| place.path().join(name));
        let found = find(&marks, &candidates);
        for (found, path) in found.iter().zip(&candidates[1..]) {
            assert_eq!(found.as_ref().unwrap().path.0, path.as_os_str().as_bytes());
        }
        assert!(matches!(find(&marks, &[])[0], Err(Lost::Opaque(..))));
    }

    #[test]
    fn a_deleted_file_is_lost_by_its_name_and_one_with_another_name_is_not() {
        let (place, _instance, marks) = watched(&["file", "linked"]);
        let at = |name: &str| place.path().join(name);
        let _open = ["file", "linked"].map(|name| fs::File::open(at(name)).unwrap());
        fs::hard_link(at("linked"), at("other")).unwrap();
        fs::remove_file(at("linked")).unwrap();
        fs::remove_file(at("file")).unwrap();
        let found = find(&marks, &[]);
        if is_allowed(&found) {
            assert_eq!(found[0], Err(Lost::Deleted(at("file"))));
            let path = &found[1].as_ref().unwrap().path.0;
            assert_eq!(path, at("other").as_os_str().as_bytes());
        }
    }

    #[test]
    fn a_pipe_is_nowhere() {
        let (read, _write) = nix::unistd::pipe().unwrap();
        let instance = Inotify::init(InitFlags::IN_CLOEXEC).unwrap();
        let path = format!("/proc/self/fd/{}", read.as_raw_fd());
        instance
            .add_watch(path.as_str(), AddWatchFlags::IN_MODIFY)
            .unwrap();
        let info = format!("/proc/self/fdinfo/{}", instance.as_fd().as_raw_fd());
        let text = fs::read_to_string(info).unwrap();
        let marks = fdinfo::marks(&text).unwrap();
        assert_eq!(find(&marks, &[]), [Err(Lost::Unmounted)]);
    }
}
