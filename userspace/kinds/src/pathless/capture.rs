// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The pathless files of a tree, collected as they are found: each inode once, no matter which processes have it and
//! how.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use crust_model::image::Owned;
use crust_model::plan::ProcessId;
use crust_model::refusal::Refusals;
use crust_model::{Error, Result, index};
use crust_sys::statx;
use crust_tracee::frozen_process::FrozenProcess;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat};
use nix::sys::statfs::fstatfs;

use super::outside::{self, Ours};
use super::{Pathless, PathlessFile, PathlessRole, attributes, data, memfd};
use crate::capture::DumpOptions;
use crate::contents::PageJob;
use crate::kind::Kinds;
use crate::ranges::holes;

/// Why a file can neither be reopened by its path nor be stored in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// What is in the way, for machines.
    pub code: &'static str,
    /// The reason.
    pub why: String,
    /// What the user can do about it.
    pub remedy: Cow<'static, str>,
}

impl Unreachable {
    /// Creates the explanation from a code, a reason and a remedy.
    pub fn new(
        code: &'static str,
        why: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            code,
            why: why.into(),
            remedy: remedy.into(),
        }
    }
}

/// A process that has a file, and the link in its `/proc/PID` that leads to it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The process of the tree.
    pub process: ProcessId,
    /// The pid of that process.
    pub pid: i32,
    /// The directory of the link: the `/proc/PID` of that process, or of crust if the file was in flight.
    pub proc: BorrowedFd<'a>,
    /// The link: `fd/7`, or a name in `map_files`, or `exe`.
    pub link: &'a str,
}

/// A file that was examined, for the kinds to recognize it.
#[derive(Debug)]
pub struct Seen {
    /// The target of the link.
    pub path: Vec<u8>,
    /// The result of `fstat`.
    pub stat: FileStat,
    /// The mount in which it was opened.
    pub mount: u64,
    /// The type of its file system (`f_type`).
    pub file_system: i64,
    /// The file, opened for reading.
    pub file: File,
}

impl Seen {
    /// Opens a file by a link.
    fn at(place: &Place<'_>) -> Result<Self> {
        let link = place.link;
        let failed = |what: &str, errno| Error::task(place.pid, format!("{what} {link}"), errno);
        let path = readlinkat(place.proc, link).map_err(|errno| failed("read the link", errno))?;
        // A read by crust is not an access that the program should see.
        let flags = OFlag::O_RDONLY | OFlag::O_NOATIME | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(place.proc, link, flags, Mode::empty()) {
            // O_NOATIME is only for the owner and privileged processes.
            Err(Errno::EPERM) => openat(place.proc, link, flags & !OFlag::O_NOATIME, Mode::empty()),
            result => result,
        }
        .map_err(|errno| failed("open", errno))?;
        let identity = statx::identity(&file, c"", libc::AT_EMPTY_PATH)
            .map_err(|errno| failed("statx of", errno))?;
        Ok(Self {
            path: path.into_vec(),
            stat: fstat(&file).map_err(|errno| failed("stat", errno))?,
            mount: identity.mount,
            file_system: fstatfs(&file)
                .map_err(|errno| failed("statfs of", errno))?
                .filesystem_type()
                .0,
            file: File::from(file),
        })
    }
}

/// A file that an image will hold.
struct Kept {
    /// The first process that has it.
    owner: ProcessId,
    state: Box<dyn PathlessFile>,
    file: File,
    /// Whether the tree has it open for writing, or mapped so that it can write to it.
    is_written: bool,
}

/// The pathless files found so far.
#[derive(Default)]
pub struct PathlessFiles {
    // Keyed by device and inode number.
    known: BTreeMap<(u64, u64), std::result::Result<u32, Unreachable>>,
    kept: Vec<Kept>,
}

impl PathlessFiles {
    /// Records a file that no path leads to. Returns its number in the image, or why an image cannot hold it.
    ///
    /// # Errors
    ///
    /// If the file cannot be examined.
    pub fn note(
        &mut self,
        kinds: Kinds,
        place: &Place<'_>,
        (device, inode): (u64, u64),
        options: &DumpOptions,
    ) -> Result<std::result::Result<u32, Unreachable>> {
        if let Some(known) = self.known.get(&(device, inode)) {
            if let Ok(id) = known {
                let owner = &mut self.kept[*id as usize].owner;
                *owner = place.process.min(*owner);
            }
            return Ok(known.clone());
        }
        let known = self.keep(kinds, place, Seen::at(place)?, options)?;
        self.known.insert((device, inode), known.clone());
        Ok(known)
    }

    fn keep(
        &mut self,
        kinds: Kinds,
        place: &Place<'_>,
        seen: Seen,
        options: &DumpOptions,
    ) -> Result<std::result::Result<u32, Unreachable>> {
        let mut roles = kinds.of_role::<PathlessRole>();
        let Some((_, role)) = roles.find(|(_, role)| (role.matches)(&seen)) else {
            let path = String::from_utf8_lossy(&seen.path);
            return Ok(Err(Unreachable::new(
                "pathless-kind",
                format!("{path}: a file without a name, of a kind that crust does not know"),
                "have the program close it before the dump, or run without it",
            )));
        };
        let failed = |errno: Errno| {
            let operation = format!("{}: look for its contents", place.link);
            Error::task(place.pid, operation, errno)
        };
        let contents = data::contents(&seen.file).map_err(failed)?;
        let end = contents.runs.ranges().last().map_or(0, |last| last.end);
        if end > holes::LARGEST {
            let path = String::from_utf8_lossy(&seen.path);
            return Ok(Err(Unreachable::new(
                "pathless-size",
                format!(
                    "{path}: a file without a name with contents at byte {end:#x}, which is too far to map"
                ),
                "have the program close it before the dump",
            )));
        }
        let is_of_kernel = memfd::device(contents.huge).map_err(failed)? == seen.stat.st_dev;
        if is_of_kernel != role.is_of_kernel {
            let path = String::from_utf8_lossy(&seen.path);
            return Ok(Err(Unreachable::new(
                "pathless-kind",
                format!(
                    "{path}: shared memory that is no memfd, as a file (opened by a link in /proc, or of a driver)"
                ),
                "have the program close it before the dump",
            )));
        }
        let id = index::number(self.kept.len());
        let attributes = attributes::of(&seen.file).map_err(failed)?;
        let pathless = Pathless::of(id, &seen.stat, contents, attributes);
        Ok(match (role.capture)(&seen, pathless, options)? {
            Ok(state) => {
                self.kept.push(Kept {
                    owner: place.process,
                    state,
                    file: seen.file,
                    is_written: false,
                });
                Ok(id)
            }
            Err(unreachable) => Err(unreachable),
        })
    }

    /// Records that a file is mapped privately.
    pub fn is_private(&mut self, id: u32) {
        self.kept[id as usize].state.pathless_mut().is_private = true;
    }

    /// Records that a file may be written to.
    pub fn is_written(&mut self, id: u32) {
        self.kept[id as usize].is_written = true;
    }

    /// Records that a process executes a file.
    pub fn is_program(&mut self, id: u32) {
        self.kept[id as usize].state.pathless_mut().is_program = true;
    }

    /// Returns the process that will recreate a file, as far as is known so far.
    #[must_use]
    pub fn maker(&self, id: u32) -> ProcessId {
        self.kept[id as usize].owner
    }

    /// Returns whether the first open file description for reading and writing is the one that creates the file.
    #[must_use]
    pub fn is_open_when_made(&self, id: u32) -> bool {
        self.kept[id as usize].state.is_open_when_made()
    }

    /// Refuses the files that a process outside the tree has too. Call it when all files are known.
    pub fn settle(&self, tree: &[FrozenProcess], refusals: &mut Refusals) {
        let mut files = BTreeMap::new();
        for (inode, known) in &self.known {
            if let Ok(id) = known {
                let kept = &self.kept[*id as usize];
                let ours = Ours {
                    pid: tree[kept.owner.0 as usize].pid,
                    title: kept.state.title(),
                    is_written: kept.is_written,
                };
                if !kept.state.is_constant() {
                    files.insert(*inode, ours);
                }
            }
        }
        outside::refuse(&files, tree, refusals);
    }

    /// Returns the contents to be copied into the image.
    pub fn into_taken(self) -> impl Iterator<Item = PageJob> {
        self.kept.into_iter().map(|kept| {
            let Kept {
                owner,
                mut state,
                file,
                ..
            } = kept;
            let runs = state.pathless().contents.runs.clone();
            PageJob::new(file, runs, move |offset| {
                state.pathless_mut().contents.offset = offset;
                let part = state.pathless().id;
                Owned {
                    owner: (owner.0, part).into(),
                    object: state.into_object(),
                }
            })
        })
    }
}

/// Returns whether a path is a directory in the given mount, and so in the file system of a file opened there.
pub(super) fn is_in_mount(directory: &std::ffi::CStr, mount: u64) -> bool {
    let flags = libc::AT_NO_AUTOMOUNT;
    statx::identity(nix::fcntl::AT_FDCWD.as_fd(), directory, flags)
        .is_ok_and(|found| found.mode & libc::S_IFMT == libc::S_IFDIR && found.mount == mount)
}
