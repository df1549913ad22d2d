// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Unnamed files: an image is written into one until it is complete, and a private temporary file
//! holds an image that comes from a stream or goes to one.
//!
//! An image is written in any order and by many writers (the processes themselves among them), its
//! records and its header are known last, and a restored process reads its pages by their offset: a
//! pipe supports none of that. So an image is complete in a file before its first byte is sent, and
//! again before any of it is used. The file is on a disk, in `$TMPDIR` or `/var/tmp`, because an
//! image is as large as the memory of a program: there would be no room for it in memory, neither
//! on the source, where the program still is, nor on the target, where it is about to be. It is
//! kept in memory only where there is no such directory. It never has a name by which somebody
//! could open it, and vanishes when it is closed, however crust ends.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::{Error, Result};

/// The directory if `TMPDIR` is not set. Not `/tmp`, which is often in memory.
const DIRECTORY: &str = "/var/tmp";

/// Returns the directory of temporary files.
#[must_use]
pub fn scratch_directory() -> PathBuf {
    let named = std::env::var_os("TMPDIR").filter(|directory| !directory.is_empty());
    named.unwrap_or(DIRECTORY.into()).into()
}

/// A temporary file, open for reading and writing.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) file: File,
    /// The name of the file in errors.
    pub(crate) name: PathBuf,
}

impl Scratch {
    pub(crate) fn new() -> Result<Self> {
        Self::within(&scratch_directory())
    }

    fn within(directory: &Path) -> Result<Self> {
        let on_disk = match unnamed(directory) {
            Err(error) if cannot_be_unnamed(&error) => {
                // The name is removed at once, when `Temporary` is dropped.
                named(&directory.join("crust")).map(|(file, _temporary)| file)
            }
            result => result.map_err(|error| Error::io(directory, "create a file in it", error)),
        };
        let name = format!("temporary file in {}", directory.display());
        match on_disk {
            Ok(file) => Ok(Self {
                file,
                name: name.into(),
            }),
            Err(error) => match memfd_create(c"crust image", MFdFlags::MFD_CLOEXEC) {
                Ok(memory) => Ok(Self {
                    file: memory.into(),
                    name: "temporary file in memory".into(),
                }),
                // The lack of a disk is the problem that the user can solve.
                Err(_) => Err(error),
            },
        }
    }
}

/// Returns the directory that contains a file of this name.
pub(crate) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Creates an unnamed file in a directory.
pub(crate) fn unnamed(directory: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlag::O_TMPFILE.bits())
        .open(directory)
}

/// Returns whether the file system, or a kernel or sandbox in between, does not support
/// `O_TMPFILE`.
pub(crate) fn cannot_be_unnamed(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL)
    )
}

/// Creates a file beside `path`, with a temporary name.
pub(crate) fn named(path: &Path) -> Result<(File, Temporary)> {
    let temporary = Temporary::beside(path);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary.0)
        .map_err(|error| Error::io(&temporary.0, "create", error))?;
    Ok((file, temporary))
}

/// A temporary name beside that of the image, which `Drop` removes.
#[derive(Debug)]
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    pub(crate) fn beside(path: &Path) -> Self {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}.partial", std::process::id()));
        let temporary = directory(path).join(name);
        // Remove what a killed process with our pid may have left.
        let _ = fs::remove_file(&temporary);
        Self(temporary)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn rename(self, path: &Path) -> std::io::Result<()> {
        fs::rename(&self.0, path)
        // Nothing is left for `Drop`; its attempt is harmless, because the name is ours.
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn it_has_no_name_and_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let scratch = Scratch::within(directory.path()).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        scratch.file.write_all_at(b"image", 4096).unwrap();
        let mut read = [0; 5];
        scratch.file.read_exact_at(&mut read, 4096).unwrap();
        assert_eq!(&read, b"image");
        let name = scratch.name.display().to_string();
        assert!(name.contains(directory.path().to_str().unwrap()), "{name}");
    }

    #[test]
    fn without_a_directory_it_is_in_memory() {
        let scratch = Scratch::within(Path::new("/nonexistent")).unwrap();
        assert_eq!(scratch.name, Path::new("temporary file in memory"));
        scratch.file.write_all_at(b"image", 0).unwrap();
    }
}
