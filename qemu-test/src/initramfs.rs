// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The initramfs of one boot: PID 1 and what the guest is to run, as a cpio archive in the "newc" format.
//!
//! Written here rather than by cpio(1): a list of files to take is simpler than a directory to prepare, and needs
//! neither a tool nor root.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use cpio::NewcBuilder;
use cpio::newc::{self, ModeFileType};

/// An archive under construction. Parent directories are added as they are needed.
pub struct Initramfs {
    out: Vec<u8>,
    inode: u32,
    directories: BTreeSet<String>,
}

impl Initramfs {
    pub fn new() -> Self {
        Initramfs {
            out: Vec::new(),
            inode: 0,
            directories: BTreeSet::new(),
        }
    }

    /// Adds a file with this content; `path` is absolute in the guest.
    pub fn content(&mut self, path: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.entry(path, ModeFileType::Regular, mode, data)
    }

    /// Adds a copy of a file of the host.
    pub fn file(&mut self, path: &str, source: &Path) -> Result<()> {
        let data = fs::read(source).with_context(|| format!("reading {}", source.display()))?;
        let mode = fs::metadata(source)?.permissions().mode() & 0o777;
        self.content(path, mode, &data)
    }

    /// Adds a copy of a directory of the host with all that is in it.
    pub fn tree(&mut self, path: &str, source: &Path) -> Result<()> {
        self.parents(&format!("{path}/"))?;
        let list = fs::read_dir(source).with_context(|| format!("reading {}", source.display()))?;
        let mut entries = list.collect::<io::Result<Vec<_>>>()?;
        // The same files give the same archive.
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry
                .file_name()
                .into_string()
                .ok()
                .context("a file name that is not UTF-8")?;
            let (inside, outside, kind) =
                (format!("{path}/{name}"), entry.path(), entry.file_type()?);
            if kind.is_dir() {
                self.tree(&inside, &outside)?;
            } else if kind.is_symlink() {
                let target = fs::read_link(&outside)?;
                let target = target.as_os_str().as_encoded_bytes();
                self.entry(&inside, ModeFileType::Symlink, 0o777, target)?;
            } else if kind.is_fifo()
                || kind.is_socket()
                || kind.is_char_device()
                || kind.is_block_device()
            {
                bail!("{} is neither a file nor a directory", outside.display());
            } else {
                self.file(&inside, &outside)?;
            }
        }
        Ok(())
    }

    /// Writes the finished archive.
    pub fn write(mut self, path: &Path) -> Result<()> {
        newc::trailer(&mut self.out)?;
        fs::write(path, &self.out).with_context(|| format!("writing {}", path.display()))
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        for (at, _) in path.match_indices('/').filter(|&(at, _)| at > 0) {
            let directory = &path[..at];
            if self.directories.insert(directory.to_owned()) {
                self.entry(directory, ModeFileType::Directory, 0o755, &[])?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, kind: ModeFileType, mode: u32, data: &[u8]) -> Result<()> {
        let size = u32::try_from(data.len()).context("a file of 4 GiB or more")?;
        self.inode += 1;
        let entry = NewcBuilder::new(path.trim_start_matches('/'))
            .ino(self.inode)
            .nlink(1)
            .mode(mode)
            .set_mode_file_type(kind);
        let mut writer = entry.write(&mut self.out, size);
        writer.write_all(data)?;
        writer.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_brings_its_directories_and_is_aligned() {
        let mut archive = Initramfs::new();
        archive.content("/crust/bin/tool", 0o755, b"12345").unwrap();
        archive.content("/crust/job", 0o644, b"").unwrap();
        let text = String::from_utf8_lossy(&archive.out);
        assert_eq!(archive.out.len() % 4, 0);
        assert_eq!(text.matches("070701").count(), 4);
        assert!(text.contains("crust/bin\0"));
        assert!(text.contains("crust/bin/tool\0"));
        // 110 bytes of header and 6 of name end at a multiple of four: nothing stands between name and next entry.
        assert!(text.find("crust\0").unwrap() < text.find("crust/bin\0").unwrap());
    }
}
