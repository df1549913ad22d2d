// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Finds another name of a file in the directory where it lost the name by which it was opened.
//!
//! No kernel interface reports the names of a file, but this is the place to look first: a program that wants a file to
//! appear complete creates it under a temporary name, gives it the real one with `link` and removes the other, as
//! glibc's `sem_open` does with every named semaphore.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::Path;

/// Returns the path of the file with this device and inode number in the directory of `path`.
#[must_use]
pub fn find(path: &[u8], device: u64, inode: u64) -> Option<Vec<u8>> {
    let directory = Path::new(OsStr::from_bytes(path)).parent()?;
    let entries = fs::read_dir(directory).ok()?.flatten();
    let is_it = |path: &Path| {
        fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (device, inode))
    };
    entries
        .filter(|entry| entry.ino() == inode)
        .map(|entry| entry.path())
        .find(|path| is_it(path))
        .map(|path| path.into_os_string().into_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_made_under_another_name() {
        let place = tempfile::tempdir().unwrap();
        let (first, second) = (place.path().join("first"), place.path().join("second"));
        fs::write(&first, "").unwrap();
        fs::write(place.path().join("other"), "").unwrap();
        fs::hard_link(&first, &second).unwrap();
        fs::remove_file(&first).unwrap();
        let file = fs::metadata(&second).unwrap();
        let found = find(first.as_os_str().as_bytes(), file.dev(), file.ino());
        assert_eq!(found.as_deref(), Some(second.as_os_str().as_bytes()));
        fs::remove_file(&second).unwrap();
        let found = find(first.as_os_str().as_bytes(), file.dev(), file.ino());
        assert_eq!(found, None);
    }
}
