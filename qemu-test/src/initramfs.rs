// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The initramfs of one boot: PID 1 and what the guest is to run, as a cpio archive in the "newc" format.
//!
//! Written here rather than by cpio(1): a list of files to take is simpler than a directory to prepare, and needs
//! neither a tool nor root. The format is described in the kernel's `Documentation/driver-api/early-userspace/
//! buffer-format.rst`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

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
        self.entry(path, REGULAR | mode, data)
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
                self.entry(
                    &inside,
                    SYMLINK | 0o777,
                    target.as_os_str().as_encoded_bytes(),
                )?;
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
        self.inode = 0;
        self.entry("TRAILER!!!", 0, &[])?;
        fs::write(path, &self.out).with_context(|| format!("writing {}", path.display()))
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        for (at, _) in path.match_indices('/').filter(|&(at, _)| at > 0) {
            let directory = &path[..at];
            if self.directories.insert(directory.to_owned()) {
                self.entry(directory, DIRECTORY | 0o755, &[])?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, mode: u32, data: &[u8]) -> Result<()> {
        let name = path.trim_start_matches('/');
        let size = u32::try_from(data.len()).context("a file of 4 GiB or more")?;
        self.inode += 1;
        // inode, mode, uid, gid, links, mtime, size, device (4 numbers), length of the name with its NUL, checksum
        let fields = [
            self.inode,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name.len() as u32 + 1,
            0,
        ];
        self.out.write_all(b"070701")?;
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(name.as_bytes())?;
        self.out.push(0);
        self.pad();
        self.out.write_all(data)?;
        self.pad();
        Ok(())
    }

    /// Names and contents end at a multiple of four bytes.
    fn pad(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(4), 0);
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
