// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The files that a process has mapped, each once, and the check that they are still the same.
//!
//! The pages of a private mapping that the program did not write are not in the image: they come from the file again. A
//! file that has changed since would silently give the program other code or data, so its size must be the same, and
//! its build id, or its modification time if it has none. For a shared mapping only the file itself counts, whatever
//! its contents are now.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crust_model::object::State;
use crust_model::refusal::Refusals;
use crust_model::words::count;
use crust_model::{Error, Result};
use crust_tracee::frozen_process::FrozenProcess;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstatat, stat};
use serde::{Deserialize, Serialize};

use super::build_id;
use crate::conflicts::Conflicts;
use crate::kind::{Kind, Kinds, OfTree, TreeKind};
use crate::path::{FilePath, sibling};
use crate::pathless::Unreachable;
use crate::pathless::ghost::{DELETED, still_named};
use crate::task::tree;

/// A file, with what is needed to recognise it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedFile {
    /// The absolute path of the file, as crust sees it.
    pub path: Vec<u8>,
    /// The device number.
    pub device: u64,
    /// The inode number.
    pub inode: u64,
    /// The length in bytes.
    pub size: u64,
    /// The modification time, in seconds of the wall clock.
    pub modified: i64,
    /// The nanoseconds of the modification time.
    pub modified_ns: i64,
    /// The [build id](super::build_id), if the file has one and is mapped privately or run.
    pub build_id: Option<Vec<u8>>,
}

/// The result of following a link in `/proc/PID`.
#[derive(Debug)]
pub enum Looked {
    /// A file that can be reached by its path.
    Named(MappedFile),
    /// A regular file that has lost all its names.
    Pathless(FileStat),
    /// A file that cannot be carried over.
    Unreachable(Unreachable),
}

impl MappedFile {
    /// Follows a link in `/proc/PID`, `exe` or one of `map_files`, and checks whether its path
    /// leads to the same file.
    ///
    /// # Errors
    ///
    /// Returns errors of `stat` on the link, with the link's name.
    pub fn look(process: &FrozenProcess, link: &str, path: &[u8]) -> Result<Looked> {
        let failed = |errno| Error::task(process.pid, format!("stat {link}"), errno);
        let there = fstatat(process.proc.as_fd(), link, AtFlags::empty()).map_err(failed)?;
        let unreachable = |why: String, remedy| {
            Ok(Looked::Unreachable(Unreachable::new(
                "file-unreachable",
                why,
                remedy,
            )))
        };

        let kind = SFlag::from_bits_truncate(there.st_mode & SFlag::S_IFMT.bits());
        // A private mapping of /dev/zero is anonymous memory that has a name.
        let zero = there.st_rdev == nix::sys::stat::makedev(1, 5) && kind == SFlag::S_IFCHR;
        if kind != SFlag::S_IFREG && !zero {
            return unreachable(
                "memory of a device, which a restore could not give back".into(),
                "have the program close the device before the dump",
            );
        }
        let at = |path: &[u8]| stat(Path::new(OsStr::from_bytes(path)));
        let is_there =
            |found: &FileStat| (found.st_dev, found.st_ino) == (there.st_dev, there.st_ino);
        let named = at(path);
        if named.as_ref().is_ok_and(is_there) {
            return Ok(Looked::Named(Self::of(path.to_vec(), &there)));
        }
        if kind == SFlag::S_IFREG && there.st_nlink == 0 {
            return Ok(Looked::Pathless(there));
        }
        let Some(plain) = path.strip_suffix(DELETED) else {
            let shown = String::from_utf8_lossy(path);
            return match named {
                Ok(_) => unreachable(
                    format!("the path {shown} leads to another file: something is mounted over it"),
                    "unmount what is mounted over it",
                ),
                Err(errno) => unreachable(
                    format!("the file {shown} cannot be reached: {errno}"),
                    "run crust in the mount namespace of the program (nsenter -m)",
                ),
            };
        };
        // The file may have been given its name again.
        if at(plain).is_ok_and(|found| is_there(&found)) {
            return Ok(Looked::Named(Self::of(plain.to_vec(), &there)));
        }
        if let Some(other) = sibling::find(plain, there.st_dev, there.st_ino) {
            return Ok(Looked::Named(Self::of(other, &there)));
        }
        let plain = FilePath(plain.to_vec());
        Ok(Looked::Unreachable(still_named(&plain, there.st_nlink)))
    }

    fn of(path: Vec<u8>, stat: &FileStat) -> Self {
        Self {
            path,
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size.unsigned_abs(),
            modified: stat.st_mtime,
            modified_ns: stat.st_mtime_nsec,
            build_id: None,
        }
    }

    /// Returns the device and inode numbers.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Returns what has happened to the file since the dump; `None` if it serves as well as then.
    ///
    /// `private`: the contents must be the same.
    #[must_use]
    pub fn changed(&self, private: bool) -> Option<String> {
        let now = match std::fs::metadata(Path::new(OsStr::from_bytes(&self.path))) {
            Ok(now) => now,
            Err(error) => return Some(format!("it cannot be found: {error}")),
        };
        if now.file_type().is_char_device() {
            return None;
        }
        if !now.is_file() {
            return Some("it is not a regular file any more".into());
        }
        if !private {
            return None;
        }
        if let Some(why) = self.build_id.as_ref().and_then(|id| self.other_build(id)) {
            return Some(why);
        }
        if now.size() != self.size {
            return Some(format!(
                "it has {} bytes now, and had {}",
                now.size(),
                self.size
            ));
        }
        if self.build_id.is_none()
            && (now.mtime(), now.mtime_nsec()) != (self.modified, self.modified_ns)
        {
            return Some("it was modified since the dump".into());
        }
        None
    }

    /// Refuses the file if it cannot serve any more; `private` tells whether it is mapped privately anywhere.
    pub(super) fn conflicts(&self, private: bool, pid: i32, refusals: &mut Refusals) {
        if let Some(change) = self.changed(private) {
            refusals.block(
                pid,
                "file-changed",
                format!("mapped file {}", String::from_utf8_lossy(&self.path)),
                change,
                "put the file back as it was, or dump the program again",
            );
        }
    }

    /// Returns how the file differs from the build that was dumped.
    fn other_build(&self, id: &[u8]) -> Option<String> {
        let was = build_id::hexadecimal(id);
        match build_id::at(&self.path) {
            Some(now) if now == id => None,
            Some(now) => Some(format!(
                "it is another build: its build id is {}, and was {was}",
                build_id::hexadecimal(&now)
            )),
            None => Some(format!(
                "it is another file: its build id was {was}, now it has none"
            )),
        }
    }
}

/// All files that a process has mapped; its mappings refer to them by index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedFiles {
    /// The files, each with whether it is mapped privately anywhere.
    pub files: Vec<(MappedFile, bool)>,
}

impl State for MappedFiles {
    const TAG: u16 = 0x0201;
    const VERSION: u16 = 2;
    const NAME: &'static str = "mapped files";
    const SUPPORT: &'static str = "By their path; a restore refuses if one that was mapped \
        privately has changed: has another build id or size, or, without a build id, was written to.";

    fn describe(&self) -> String {
        count(self.files.len() as u64, "file", "files")
    }
}

impl Kind for MappedFiles {
    type Source = OfTree;

    fn conflicts(_: Kinds, cx: &mut Conflicts<'_>) -> Result<()> {
        for (owner, files) in cx.image.all::<Self>() {
            let pid = tree::number(cx.image, owner.task());
            for (file, private) in &files.files {
                file.conflicts(*private, pid, &mut cx.refusals);
            }
        }
        Ok(())
    }
}

/// They are captured and planned with the mappings that refer to them.
impl TreeKind for MappedFiles {}

/// Returns the target of a link in `/proc/PID`.
///
/// # Errors
///
/// Returns errors of `readlink`.
pub fn read_link(process: &FrozenProcess, link: &str) -> Result<Vec<u8>> {
    nix::fcntl::readlinkat(process.proc.as_fd(), link)
        .map(OsStringExt::into_vec)
        .map_err(|errno| Error::task(process.pid, format!("read link {link}"), errno))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_private_file_must_be_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lib.so");
        fs::write(&path, "contents").unwrap();
        let file = MappedFile::of(path.as_os_str().as_bytes().to_vec(), &stat(&path).unwrap());
        assert_eq!(file.changed(true), None);

        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        assert!(file.changed(true).unwrap().contains("modified"));
        assert_eq!(file.changed(false), None);

        fs::write(&path, "longer contents").unwrap();
        assert!(file.changed(true).unwrap().contains("15 bytes"));

        fs::remove_file(&path).unwrap();
        assert!(file.changed(false).unwrap().contains("cannot be found"));
    }

    #[test]
    fn the_same_build_may_be_written_again_and_another_may_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        let write = |id| fs::write(&path, build_id::tests::program(id)).unwrap();
        write(&[1; 20]);
        let mut file = MappedFile::of(path.as_os_str().as_bytes().to_vec(), &stat(&path).unwrap());
        file.build_id = Some(vec![1; 20]);
        file.modified = 0;
        assert_eq!(file.changed(true), None);
        file.size += 1;
        assert!(file.changed(true).unwrap().contains("bytes"));
        write(&[2; 20]);
        assert!(
            file.changed(true)
                .unwrap()
                .contains("another build: its build id is 0202")
        );
        assert_eq!(file.changed(false), None);
        fs::write(&path, "#!/bin/sh").unwrap();
        assert!(file.changed(true).unwrap().contains("now it has none"));
    }
}
