// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The files of a directory as they were at one moment.
//!
//! crust does not save files. Who restores an image of a program that went on has to put its files back first: the
//! same files, to which the image leads, with what was in them then.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A directory that was saved.
pub struct Saved {
    directory: PathBuf,
    /// Each file under a second name, so that it does not end when the program removes it.
    files: PathBuf,
    /// What was in it.
    contents: PathBuf,
}

impl Saved {
    /// Saves all regular files of a directory into another one of the same file system.
    pub fn take(directory: &Path, into: &Path) -> Result<Self> {
        let saved = Self {
            directory: directory.to_owned(),
            files: into.join("files"),
            contents: into.join("contents"),
        };
        for name in names(directory)? {
            let file = directory.join(&name);
            let (second, copy) = (saved.files.join(&name), saved.contents.join(&name));
            for path in [&second, &copy] {
                fs::create_dir_all(path.parent().context("no directory")?)?;
            }
            fs::hard_link(&file, second)?;
            fs::copy(&file, copy)?;
        }
        Ok(saved)
    }

    /// Makes the directory what it was.
    pub fn put_back(&self) -> Result<()> {
        for name in names(&self.directory)? {
            if !self.files.join(&name).exists() {
                fs::remove_file(self.directory.join(&name))?;
            }
        }
        for name in names(&self.files)? {
            let (path, file) = (self.directory.join(&name), self.files.join(&name));
            let inode = fs::metadata(&file)?.ino();
            if fs::metadata(&path).map(|now| now.ino()).ok() != Some(inode) {
                let _ = fs::remove_file(&path);
                fs::create_dir_all(path.parent().context("no directory")?)?;
                fs::hard_link(&file, &path)?;
            }
            let contents = fs::read(self.contents.join(&name))?;
            // What was not changed keeps its time: a program that was, for instance, may not be another one.
            if fs::read(&path)? == contents {
                continue;
            }
            let mut file = File::options().write(true).open(&path)?;
            file.rewind()?;
            file.write_all(&contents)?;
            file.set_len(contents.len() as u64)?;
        }
        Ok(())
    }
}

/// The names of all regular files below a directory, relative to it.
fn names(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    let mut left = vec![PathBuf::new()];
    while let Some(below) = left.pop() {
        for entry in fs::read_dir(directory.join(&below))? {
            let entry = entry?;
            let (kind, name) = (entry.file_type()?, below.join(entry.file_name()));
            if kind.is_dir() {
                left.push(name);
            } else if kind.is_file() {
                names.push(name);
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_the_same_ones_again() {
        let top = std::env::temp_dir().join(format!("crust-apps-files-{}", std::process::id()));
        let directory = top.join("work");
        fs::create_dir_all(directory.join("below")).unwrap();
        for name in ["grown", "gone", "replaced", "below/deep"] {
            fs::write(directory.join(name), format!("what was in {name}")).unwrap();
        }
        let inodes = || {
            let inode = |name| fs::metadata(directory.join(name)).unwrap().ino();
            ["grown", "gone", "replaced", "below/deep"].map(inode)
        };
        let before = inodes();
        let saved = Saved::take(&directory, &top.join("saved")).unwrap();
        fs::write(
            directory.join("grown"),
            "it is much longer than before, and other",
        )
        .unwrap();
        fs::remove_file(directory.join("gone")).unwrap();
        fs::write(directory.join("other"), "").unwrap();
        fs::rename(directory.join("other"), directory.join("replaced")).unwrap();
        fs::write(directory.join("new"), "").unwrap();
        fs::remove_dir_all(directory.join("below")).unwrap();
        saved.put_back().unwrap();
        assert_eq!(inodes(), before);
        assert!(!directory.join("new").exists());
        for name in ["grown", "gone", "replaced", "below/deep"] {
            let text = fs::read_to_string(directory.join(name)).unwrap();
            assert_eq!(text, format!("what was in {name}"));
        }
        fs::remove_dir_all(top).unwrap();
    }
}
