// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The files of a directory as they were at one moment.
//!
//! crust does not save files. Who restores an image of a program that went on has to put its files back first: the
//! same files, to which the image leads, with what was in them then.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A directory that was saved, and some files elsewhere.
pub struct Saved {
    directory: PathBuf,
    files: Vec<SavedFile>,
}

/// A file that was saved.
struct SavedFile {
    path: PathBuf,
    /// Its second name: so it does not end when the program removes it.
    second: PathBuf,
    contents: Vec<u8>,
}

impl Saved {
    /// Saves all regular files of a directory, and these. Their second names go to the new directory `aside`, or
    /// beside the first ones in another file system.
    pub fn take(directory: &Path, aside: &Path, elsewhere: &[PathBuf]) -> Result<Self> {
        fs::create_dir(aside)?;
        let below = names(directory)?;
        let below = below.into_iter().map(|name| directory.join(name));
        let paths = below.chain(elsewhere.iter().cloned());
        let files = (0..).zip(paths).map(|(number, path)| {
            SavedFile::take(&path, aside.join(number.to_string()))
                .with_context(|| format!("save {}", path.display()))
        });
        let files = files.collect::<Result<_>>()?;
        Ok(Self {
            directory: directory.to_owned(),
            files,
        })
    }

    /// Makes everything what it was.
    pub fn put_back(&self) -> Result<()> {
        for name in names(&self.directory)? {
            let path = self.directory.join(name);
            if self.files.iter().all(|file| file.path != path) {
                fs::remove_file(path)?;
            }
        }
        self.files.iter().try_for_each(SavedFile::put_back)
    }
}

impl SavedFile {
    fn take(path: &Path, mut second: PathBuf) -> Result<Self> {
        if let Err(error) = fs::hard_link(path, &second) {
            ensure!(error.kind() == ErrorKind::CrossesDevices, error);
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            second = path.with_file_name(format!(".{name}.saved"));
            fs::hard_link(path, &second)?;
        }
        Ok(Self {
            contents: fs::read(path)?,
            path: path.to_owned(),
            second,
        })
    }

    fn put_back(&self) -> Result<()> {
        let inode = |path: &Path| fs::symlink_metadata(path).map(|found| found.ino()).ok();
        if inode(&self.path) != inode(&self.second) {
            let _ = fs::remove_file(&self.path);
            fs::create_dir_all(self.path.parent().context("no directory")?)?;
            fs::hard_link(&self.second, &self.path)?;
        }
        // What was not changed keeps its time: a program that was, for instance, may not be another one.
        if fs::read(&self.path)? != self.contents {
            let mut file = File::options().write(true).open(&self.path)?;
            file.write_all(&self.contents)?;
            file.set_len(self.contents.len() as u64)?;
        }
        Ok(())
    }
}

impl Drop for SavedFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.second);
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
        let other = top.join("other");
        fs::write(&other, "what was elsewhere").unwrap();
        let elsewhere = [other.clone()];
        let saved = Saved::take(&directory, &top.join("saved"), &elsewhere).unwrap();
        fs::remove_file(&other).unwrap();
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
        assert_eq!(fs::read_to_string(&other).unwrap(), "what was elsewhere");
        drop(saved);
        assert_eq!(fs::read_dir(&top).unwrap().count(), 3);
        fs::remove_dir_all(top).unwrap();
    }
}
