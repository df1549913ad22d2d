// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A ghost: a regular file that was deleted while it was open, mapped, or run.
//!
//! A restore creates it without a name (`O_TMPFILE`) in the directory where it was, so nothing becomes visible there,
//! while quotas, permissions, and what is written to disk are those of that file system. If the directory is gone too,
//! the nearest remaining ancestor in the same mount does as well, since a file without a name is in no directory.
//!
//! A program can tell the difference: the link in `/proc` that leads to the file shows its inode number as the name. A
//! file that the program itself has created with `O_TMPFILE` looks like that anyway, and can still be given a name
//! (`linkat`).

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crust_model::Result;
use crust_model::object::{Extent, Object, State};
use crust_model::plan::Call;
use crust_model::refusal::{Refusals, Subject};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag};
use serde::{Deserialize, Serialize};

use super::capture::is_in_mount;
use super::{Pathless, PathlessFile, PathlessKind, Seen, Unreachable};
use crate::capture::DumpOptions;
use crate::kind::Kind;
use crate::path::FilePath;
use crate::pathless::OfPathless;

/// The suffix that `/proc` appends to the path of a file that has no name.
pub const DELETED: &[u8] = b" (deleted)";

/// `MQUEUE_MAGIC` of linux/magic.h: message queues look like regular files but are not.
pub(crate) const MQUEUE_MAGIC: i64 = 0x1980_0202;

/// The default limit for the bytes of a deleted file that an image may hold, the same as CRIU's.
pub const LIMIT: u64 = 1 << 20;

/// A deleted file that is still in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ghost {
    /// The state common to all pathless files.
    pub pathless: Pathless,
    /// The path that the file had.
    pub path: FilePath,
    /// The directory in which it is recreated.
    pub directory: FilePath,
}

impl State for Ghost {
    const TAG: u16 = 0x0223;
    const NAME: &'static str = "deleted file";
    const SUPPORT: &'static str = "Contents (up to --ghost-limit), size, owner, mode, times, \
        extended attributes. Open, mapped, or run; made again without a name in its file system. One that has other \
        names, or that a program outside has too, is refused.";

    fn describe(&self) -> String {
        format!(
            "file {} without a path, {}: {}",
            self.pathless.id,
            self.title(),
            self.pathless.contents.describe()
        )
    }

    fn extents(&self) -> Vec<Extent> {
        vec![self.pathless.contents.extent()]
    }
}

impl PathlessFile for Ghost {
    fn pathless(&self) -> &Pathless {
        &self.pathless
    }

    fn pathless_mut(&mut self) -> &mut Pathless {
        &mut self.pathless
    }

    fn title(&self) -> String {
        format!("deleted file {}", self.path)
    }

    fn make(&self) -> Call {
        let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
        Call::new(
            format!("{}: make it again in {}", self.title(), self.directory),
            libc::SYS_openat,
            [
                libc::AT_FDCWD.into(),
                self.directory.data().into(),
                flags.into(),
                0o600.into(),
            ],
        )
    }

    fn into_object(self: Box<Self>) -> Box<dyn Object> {
        self
    }

    fn check(&self, refusals: &mut Refusals) {
        if let Some((why, remedy)) = obstacle(&self.directory) {
            refusals.block(
                Subject::Image,
                "ghost-directory",
                self.title(),
                format!("it cannot be made again in {}: {why}", self.directory),
                remedy,
            );
        }
    }
}

impl Kind for Ghost {
    type Source = OfPathless;
}

impl PathlessKind for Ghost {
    const IS_OF_KERNEL: bool = false;

    fn matches(seen: &Seen) -> bool {
        let kind = SFlag::from_bits_truncate(seen.stat.st_mode & SFlag::S_IFMT.bits());
        kind == SFlag::S_IFREG && seen.path.ends_with(DELETED) && seen.file_system != MQUEUE_MAGIC
    }

    fn capture(
        seen: &Seen,
        pathless: Pathless,
        options: &DumpOptions,
    ) -> Result<std::result::Result<Self, Unreachable>> {
        let path = seen.path.strip_suffix(DELETED).unwrap_or(&seen.path);
        let path = FilePath(path.to_vec());
        if seen.stat.st_nlink > 0 {
            return Ok(Err(still_named(&path, seen.stat.st_nlink)));
        }
        let Some(directory) = directory_of(&path, seen.mount) else {
            return Ok(Err(Unreachable::new(
                "ghost-directory",
                format!(
                    "a deleted file, {path}: nothing is left of its directory in that mount, \
                     so there is no place to make it again"
                ),
                "have the program close it before the dump",
            )));
        };
        if let Some((why, remedy)) = obstacle(&directory) {
            return Ok(Err(Unreachable::new(
                "ghost-directory",
                format!("a deleted file, {path}: it could not be made again in {directory}: {why}"),
                remedy,
            )));
        }
        let (bytes, limit) = (
            pathless.contents.runs.bytes(),
            options.ghost_limit.unwrap_or(LIMIT),
        );
        if bytes > limit {
            return Ok(Err(Unreachable::new(
                "ghost-limit",
                format!(
                    "a deleted file, {path}: the image would have to hold its {bytes} bytes, and the limit is {limit} bytes"
                ),
                format!("dump with --ghost-limit {bytes}"),
            )));
        }
        Ok(Ok(Self {
            pathless,
            path,
            directory,
        }))
    }
}

/// Returns what prevents creating a file without a name in a directory, and the remedy. To find out, it creates one,
/// which is never visible and disappears at once.
fn obstacle(directory: &FilePath) -> Option<(&'static str, &'static str)> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let path = Path::new(OsStr::from_bytes(&directory.0));
    Some(match open(path, flags, Mode::S_IRUSR).err()? {
        Errno::ENOENT | Errno::ENOTDIR => ("the directory is missing", "make the directory again"),
        Errno::EOPNOTSUPP | Errno::EISDIR => (
            "its file system makes no files without a name (O_TMPFILE)",
            "have the program use a file system that does: ext4, xfs, btrfs or tmpfs",
        ),
        Errno::EROFS => (
            "its file system is mounted read-only",
            "mount it writable (mount -o remount,rw)",
        ),
        errno => (errno.desc(), "make sure that files can be made there"),
    })
}

/// Explains why a file that has lost the name by which it was opened, but has others, is not carried over.
pub fn still_named(path: &FilePath, links: u64) -> Unreachable {
    let names = match links {
        1 => "another name".to_owned(),
        links => format!("{links} other names"),
    };
    Unreachable::new(
        "ghost-names",
        format!(
            "the name {path} was removed, but the file has {names}: a copy would be another file, and \
             no kernel interface tells these names"
        ),
        "give the file that name again before the dump (ln), or remove the other names (find -samefile)",
    )
}

/// Returns the directory of a file, or its nearest ancestor that exists in this mount.
fn directory_of(path: &FilePath, mount: u64) -> Option<FilePath> {
    let mut directory = PathBuf::from(OsStr::from_bytes(&path.0));
    while directory.pop() {
        let bytes = directory.as_os_str().as_bytes();
        if CString::new(bytes).is_ok_and(|path| is_in_mount(&path, mount)) {
            return Some(FilePath(bytes.to_vec()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use crust_sys::statx;

    use super::*;

    fn mount_of(file: &File) -> u64 {
        statx::identity(file, c"", libc::AT_EMPTY_PATH)
            .unwrap()
            .mount
    }

    #[test]
    fn the_nearest_directory_that_is_left() {
        let place = tempfile::tempdir().unwrap();
        let inner = place.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let file = inner.join("file");
        let path = FilePath(file.as_os_str().as_bytes().to_vec());
        let mount = mount_of(&File::create(&file).unwrap());
        let directory = |path: &Path| Some(FilePath(path.as_os_str().as_bytes().to_vec()));
        assert_eq!(directory_of(&path, mount), directory(&inner));
        fs::remove_dir_all(place.path().join("a")).unwrap();
        assert_eq!(directory_of(&path, mount), directory(place.path()));
        assert_eq!(directory_of(&path, u64::MAX), None);
    }

    #[test]
    fn a_missing_directory_is_a_conflict() {
        let place = tempfile::tempdir().unwrap();
        let ghost = |directory: &Path| Ghost {
            pathless: Pathless::default(),
            path: FilePath(b"/gone".to_vec()),
            directory: FilePath(directory.as_os_str().as_bytes().to_vec()),
        };
        let mut refusals = Refusals::default();
        ghost(place.path()).check(&mut refusals);
        assert!(!refusals.forbid());
        ghost(Path::new("/nonexistent")).check(&mut refusals);
        assert!(refusals.forbid());
        assert!(refusals.as_slice()[0].why.contains("is missing"));
    }
}
