// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Reading an image.

use std::fs::File;
use std::hash::Hasher;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use twox_hash::XxHash64;

use crate::header::{self, Header};
use crate::pages::{self, PageSum};
use crate::scratch::Scratch;
use crate::{Error, FORMAT_MAJOR, Origin, PAGE_SIZE, Record, Result, codec, frame, origin};

/// An image whose header, length and records have been verified.
///
/// Everything in an image for which there is a [`Reader`] is intact, except possibly the page data:
/// [`verify_pages`] checks that. So a restore that has a `Reader` has detected a truncated or
/// damaged image before it has created anything.
///
/// [`verify_pages`]: Self::verify_pages
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: File,
    header: Header,
    length: u64,
    origin: Option<Origin>,
    records: Vec<Record>,
    sums: Vec<PageSum>,
}

impl Reader {
    /// Opens an image and reads its records.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::NotAnImage`], [`Error::Unsupported`], [`Error::Damaged`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        // Without O_NONBLOCK, opening a named pipe would wait for its writer.
        let mut file = File::options()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
            .open(&path)
            .map_err(|error| Error::io(&path, "open", error))?;
        let failed = |error| Error::io(&path, "read", error);
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Error::NotAnImage {
                problem: "it is not a regular file".into(),
                path,
            });
        }
        let length = metadata.len();
        let mut head = Vec::with_capacity(header::LENGTH);
        (&mut file)
            .take(header::LENGTH as u64)
            .read_to_end(&mut head)
            .map_err(failed)?;
        let header = Header::decode(&head, &path)?;
        header.fits(length, &path)?;
        Self::of(path, file, header)
    }

    /// Reads an image from a stream up to its end; `name` is the name of the stream.
    ///
    /// The stream is copied into a [temporary file](crate::scratch), because pages are read by
    /// their offset and not in order. An image whose end has not been seen is of no use: if the
    /// stream ends early, there is no `Reader`. The stream is not copied at all if it does not
    /// begin like an image, and not beyond the length in its header.
    ///
    /// # Errors
    ///
    /// The errors of [`open`](Self::open); [`Error::Io`] also if there is no room for the copy.
    pub fn receive(stream: &mut dyn Read, name: &str) -> Result<Self> {
        let path = PathBuf::from(name);
        let failed = |error| Error::io(&path, "read", error);
        let mut head = Vec::with_capacity(header::LENGTH);
        stream
            .take(header::LENGTH as u64)
            .read_to_end(&mut head)
            .map_err(failed)?;
        if head.is_empty() {
            return Err(Error::NotAnImage {
                path,
                problem: "nothing came; has the dump failed?".into(),
            });
        }
        let header = Header::decode(&head, &path)?;
        let length = header.image_length();
        let Scratch { mut file, name } = Scratch::new()?;
        let no_room = |error| Error::io(&name, "write", error);
        file.write_all(&head).map_err(no_room)?;
        let mut received = head.len() as u64;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let part = match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(part) => part,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            if part as u64 > length.saturating_sub(received) {
                return Err(Error::damaged(&path, length, header::BYTES_FOLLOW));
            }
            file.write_all(&buffer[..part]).map_err(no_room)?;
            received += part as u64;
        }
        if received < length {
            let problem =
                format!("it ends here, though the image has {length} bytes; has the dump failed?");
            return Err(Error::damaged(&path, received, problem));
        }
        Self::of(path, file, header)
    }

    /// Reads the image in a file that has the length given by its header.
    fn of(path: PathBuf, file: File, header: Header) -> Result<Self> {
        let length = header.image_length();
        let failed = |error| Error::io(&path, "read", error);
        // `decode` has checked that there are not too many, and that all of them are there.
        let length_of_records = usize::try_from(header.records_length).map_err(|_| {
            let problem = "its records do not fit into the memory of this machine".to_owned();
            Error::damaged(&path, header.records_offset, problem)
        })?;
        let mut bytes = vec![0; length_of_records];
        file.read_exact_at(&mut bytes, header.records_offset)
            .map_err(failed)?;
        let (records, sums) = parse(&bytes, &header, &path)?;
        let mut bytes = [0; origin::LENGTH];
        file.read_exact_at(&mut bytes, origin::OFFSET)
            .map_err(failed)?;
        let origin = Origin::decode(&bytes);
        Ok(Self {
            path,
            file,
            header,
            length,
            origin,
            records,
            sums,
        })
    }

    /// Returns the name under which the image was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the open file: page data is at the offsets in the records.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns the records, in the order in which they were added.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Returns the version of the format.
    #[must_use]
    pub fn version(&self) -> (u16, u16) {
        (FORMAT_MAJOR, self.header.minor)
    }

    /// Returns when and where the image was made; `None` for one of an older crust.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Returns the length of the file, in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns how many bytes of the file are page data.
    #[must_use]
    pub fn page_bytes(&self) -> u64 {
        self.header.records_offset - PAGE_SIZE
    }

    /// Returns whether `length` bytes at `offset` are page data of this image. A record that points
    /// elsewhere is damaged, whatever its checksum says.
    #[must_use]
    pub fn has_pages(&self, offset: u64, length: u64) -> bool {
        offset % PAGE_SIZE == 0
            && offset >= PAGE_SIZE
            && offset
                .checked_add(length)
                .is_some_and(|end| end <= self.header.records_offset)
    }

    /// Reads all page data that has checksums, and verifies these; returns the number of bytes
    /// verified.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] names the run of pages that has changed; [`Error::Io`].
    pub fn verify_pages(&self) -> Result<u64> {
        let mut buffer = vec![0; 1 << 20];
        let mut verified = 0;
        for sum in &self.sums {
            let mut hasher = XxHash64::with_seed(pages::SEED);
            let end = sum.offset + sum.length;
            let mut at = sum.offset;
            while at < end {
                let part =
                    usize::try_from(end - at).map_or(buffer.len(), |rest| rest.min(buffer.len()));
                self.file
                    .read_exact_at(&mut buffer[..part], at)
                    .map_err(|error| Error::io(&self.path, "read", error))?;
                hasher.write(&buffer[..part]);
                at += part as u64;
            }
            if hasher.finish() != sum.checksum {
                return Err(Error::damaged(
                    &self.path,
                    sum.offset,
                    format!("the checksum of {} bytes of pages is wrong", sum.length),
                ));
            }
            verified += sum.length;
        }
        Ok(verified)
    }
}

/// Extracts the records from their frames; the checksums of pages, which belong to the format
/// itself, are kept apart. Unknown records of a newer format are passed on: `inspect` shows them,
/// and a restore refuses what it does not know.
fn parse(bytes: &[u8], header: &Header, path: &Path) -> Result<(Vec<Record>, Vec<PageSum>)> {
    let mut records = Vec::new();
    let mut sums = Vec::new();
    let mut rest = bytes;
    let mut count = 0;
    while !rest.is_empty() {
        let offset = header.records_offset + (bytes.len() - rest.len()) as u64;
        let damaged = |problem| Error::damaged(path, offset, problem);
        let (record, after) = frame::take(rest).map_err(damaged)?;
        if (record.tag, record.version) == (pages::TAG, pages::VERSION) {
            sums = codec::decode::<Vec<PageSum>>(&record.body)?;
            let outside = |sum: &PageSum| {
                sum.offset < PAGE_SIZE
                    || sum
                        .offset
                        .checked_add(sum.length)
                        .is_none_or(|end| end > header.records_offset)
            };
            if sums.iter().any(outside) {
                return Err(damaged("a checksum is of bytes that are no pages".into()));
            }
        } else {
            records.push(record);
        }
        count += 1;
        rest = after;
    }
    if count != header.records_count {
        return Err(Error::damaged(
            path,
            header.records_offset,
            format!("{count} records instead of {}", header.records_count),
        ));
    }
    Ok((records, sums))
}
