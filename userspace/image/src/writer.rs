// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Writing an image, which appears under its name when it is complete, or never.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;

use crate::header::Header;
use crate::pages::{self, PageSum};
use crate::scratch::{Scratch, Temporary, cannot_be_unnamed, directory, named, unnamed};
use crate::{
    Error, FORMAT_MINOR, MAX_RECORDS, Origin, PAGE_SIZE, Record, Result, codec, frame, origin,
};

/// An image that is being written.
///
/// Until [`finish`](Self::finish) the file has no name (`O_TMPFILE`), or, where the file system
/// does not support that, a temporary one that `Drop` removes: if the disk is full or crust is
/// killed, no incomplete image is left behind, and a previous image of the same name stays until
/// then. Only its owner can read it (mode 0600), because it holds all of the program's memory.
///
/// ```
/// # use crust_image::{Record, Writer, pages};
/// # use std::os::unix::fs::FileExt;
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("crust.img");
/// let mut image = Writer::create(&path)?;
/// let offset = image.reserve_pages(4096);
/// image.file().write_all_at(&[7; 4096], offset).unwrap();
/// image.sum_pages(offset, 4096, pages::checksum(&[7; 4096]));
/// image.add(&Record { tag: 0x0301, version: 1, owner: 0, part: 3, body: vec![1, 2, 3] })?;
/// let done = image.finish(true)?;
/// # assert_eq!(done.page_bytes, 4096);
/// # Ok::<(), crust_image::Error>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    temporary: Option<Temporary>,
    origin: Option<Origin>,
    pages_end: u64,
    frames: Vec<u8>,
    count: u64,
    sums: Vec<PageSum>,
}

/// A complete image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The length of the file, in bytes.
    pub bytes: u64,
    /// The number of bytes that are page data.
    pub page_bytes: u64,
    /// The number of records.
    pub records: u64,
}

impl Writer {
    /// Begins an image that is to have the name `path`.
    ///
    /// A dump does this before it stops anything, so that a missing directory costs the program
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the directory does not exist or may not be written to, or if something
    /// other than a regular file has that name.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        // A rename would replace a device or a link as readily as an old image.
        if let Ok(there) = fs::symlink_metadata(&path) {
            let errno = match () {
                () if there.is_file() => None,
                () if there.is_dir() => Some(Errno::EISDIR),
                () => Some(Errno::EEXIST),
            };
            if let Some(errno) = errno {
                return Err(Error::io(&path, "create", errno));
            }
        }
        if path.file_name().is_none() {
            return Err(Error::io(&path, "create", Errno::EINVAL));
        }
        let (file, temporary) = match unnamed(directory(&path)) {
            Ok(file) => (file, None),
            Err(error) if cannot_be_unnamed(&error) => {
                let (file, temporary) = named(&path)?;
                (file, Some(temporary))
            }
            Err(error) => return Err(Error::io(&path, "create", error)),
        };
        Ok(Self::new(path, file, temporary))
    }

    /// Begins an image without a name, to be sent elsewhere: in a [temporary file](crate::scratch).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if no such file can be created.
    pub fn unnamed() -> Result<Self> {
        let Scratch { file, name } = Scratch::new()?;
        Ok(Self::new(name, file, None))
    }

    fn new(path: PathBuf, file: File, temporary: Option<Temporary>) -> Self {
        Self {
            path,
            file,
            temporary,
            origin: None,
            pages_end: PAGE_SIZE,
            frames: Vec::new(),
            count: 0,
            sums: Vec::new(),
        }
    }

    /// Sets when and where the image is made.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origin = Some(origin);
    }

    /// Adds a record. Readers see the records in the order in which they were added.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`].
    pub fn add(&mut self, record: &Record) -> Result<()> {
        frame::append(&mut self.frames, record)?;
        self.count += 1;
        if self.frames.len() as u64 > MAX_RECORDS {
            return Err(Error::TooLarge {
                what: "all records together",
                size: self.frames.len() as u64,
                limit: MAX_RECORDS,
            });
        }
        Ok(())
    }

    /// Reserves room for `bytes` bytes of page data, rounded up to whole pages, and returns their
    /// offset in the file. Runs that are reserved one after the other are adjacent.
    ///
    /// The caller writes the data through [`file`](Self::file), from as many threads as it likes.
    /// What it does not write reads as zeros.
    pub fn reserve_pages(&mut self, bytes: u64) -> u64 {
        let offset = self.pages_end;
        self.pages_end += bytes.next_multiple_of(PAGE_SIZE);
        offset
    }

    /// Returns the offset in the file where the reserved page data ends.
    #[must_use]
    pub fn pages_end(&self) -> u64 {
        self.pages_end
    }

    /// Returns how many bytes of page data have been reserved.
    #[must_use]
    pub fn page_bytes(&self) -> u64 {
        self.pages_end - PAGE_SIZE
    }

    /// Returns the file, for writing page data at the offsets that
    /// [`reserve_pages`](Self::reserve_pages) returned (`pwrite`, `FileExt::write_all_at`,
    /// `as_fd()`), and nowhere else.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Records the [`pages::checksum`] of a run of page data, for `crust inspect --verify`.
    pub fn sum_pages(&mut self, offset: u64, length: u64, checksum: u64) {
        self.sums.push(PageSum {
            offset,
            length,
            checksum,
        });
    }

    /// Completes the image and gives it its name; an older image of that name is replaced.
    ///
    /// With `sync` the image is on the disk before it gets its name, and the name is on the disk
    /// when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; in that case there is no new image, and an old one still exists.
    pub fn finish(mut self, sync: bool) -> Result<Finished> {
        let finished = self.complete()?;
        let failed = |operation, error| Error::io(&self.path, operation, error);
        if sync {
            self.file
                .sync_all()
                .map_err(|error| failed("write to disk", error))?;
        }
        match self.temporary.take() {
            None => self.link().map_err(|error| failed("name", error.into()))?,
            Some(temporary) => temporary
                .rename(&self.path)
                .map_err(|error| failed("rename", error))?,
        }
        if sync {
            File::open(directory(&self.path))
                .and_then(|directory| directory.sync_all())
                .map_err(|error| failed("write its directory to disk", error))?;
        }
        Ok(finished)
    }

    /// Completes an image without a name; returns the file, which holds all of it, and vanishes
    /// when it is closed.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn finish_unnamed(mut self) -> Result<(Finished, File)> {
        let finished = self.complete()?;
        Ok((finished, self.file))
    }

    /// Writes the parts that are known last: the records, and the header.
    fn complete(&mut self) -> Result<Finished> {
        if !self.sums.is_empty() {
            self.sums.sort_unstable_by_key(|sum| sum.offset);
            let record = Record {
                tag: pages::TAG,
                version: pages::VERSION,
                owner: 0,
                part: 0,
                body: codec::encode(&self.sums)?,
            };
            self.add(&record)?;
        }
        let header = Header {
            minor: FORMAT_MINOR,
            records_offset: self.pages_end,
            records_length: self.frames.len() as u64,
            records_count: self.count,
        };
        let bytes = header.image_length();
        self.file
            .write_all_at(&self.frames, self.pages_end)
            .and_then(|()| self.file.write_all_at(&header.encode(), 0))
            .and_then(|()| match &self.origin {
                Some(origin) => self.file.write_all_at(&origin.encode(), origin::OFFSET),
                None => Ok(()),
            })
            // Without records, or if the last pages are zeros, the file must still end here.
            .and_then(|()| self.file.set_len(bytes))
            .map_err(|error| Error::io(&self.path, "write", error))?;
        Ok(Finished {
            bytes,
            page_bytes: self.pages_end - PAGE_SIZE,
            records: self.count,
        })
    }

    /// Gives the unnamed file its name.
    fn link(&self) -> nix::Result<()> {
        match link_to(&self.file, &self.path) {
            // No call links over an existing name: link beside it, and rename.
            Err(Errno::EEXIST) => {
                let temporary = Temporary::beside(&self.path);
                link_to(&self.file, temporary.path())?;
                temporary
                    .rename(&self.path)
                    .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))
            }
            result => result,
        }
    }
}

fn link_to(file: &File, path: &Path) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    // AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH; open(2) documents the way through /proc.
    let source = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    linkat(
        AT_FDCWD,
        source.as_str(),
        AT_FDCWD,
        path,
        AtFlags::AT_SYMLINK_FOLLOW,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reader;

    /// Takes the path for file systems without `O_TMPFILE`, even if this one supports it.
    #[test]
    fn a_temporary_name_does_where_there_must_be_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("crust.img");
        let names = || fs::read_dir(directory.path()).unwrap().count();

        let (file, temporary) = named(&path).unwrap();
        drop(Writer::new(path.clone(), file, Some(temporary)));
        assert_eq!(names(), 0);

        let (file, temporary) = named(&path).unwrap();
        let image = Writer::new(path.clone(), file, Some(temporary));
        assert!(!path.exists());
        image.finish(true).unwrap();
        assert_eq!(names(), 1);
        Reader::open(&path).unwrap();
    }
}
