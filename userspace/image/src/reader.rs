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
use crate::{Error, FORMAT_MAJOR, PAGE_SIZE, Record, Result, codec, frame};

/// An image whose header, length and records have been verified.
///
/// What a [`Reader`] exists for is whole, but for the page data: [`verify_pages`] looks at that.
/// So a restore that has a `Reader` has detected a truncated or damaged image before it has
/// created anything.
///
/// [`verify_pages`]: Self::verify_pages
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: File,
    header: Header,
    length: u64,
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
        // To open a named pipe would be to wait for its writer.
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

    /// Reads an image from a stream, which `name` is the name of, up to its end.
    ///
    /// The stream is copied into a [temporary file](crate::scratch), because pages are read by their
    /// place and not in their order. Nothing can be done with an image of which the end has not been seen:
    /// if the stream ends early, there is no `Reader`. It is not copied at all if it does not begin as an
    /// image does, and not beyond the length that its header tells.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); [`Error::Io`] also if there is no room for the copy.
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

    /// The image in a file that has the length that its header tells.
    fn of(path: PathBuf, file: File, header: Header) -> Result<Self> {
        let length = header.image_length();
        let failed = |error| Error::io(&path, "read", error);
        // `decode` has seen that they are not too many, and all of them are there.
        let mut bytes = vec![0; header.records_length as usize];
        file.read_exact_at(&mut bytes, header.records_offset)
            .map_err(failed)?;
        let (records, sums) = parse(&bytes, &header, &path)?;
        Ok(Self {
            path,
            file,
            header,
            length,
            records,
            sums,
        })
    }

    /// The name under which it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file: page data is at the offsets that the records tell.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The records, in the order in which they were added.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The version of its format.
    #[must_use]
    pub fn version(&self) -> (u16, u16) {
        (FORMAT_MAJOR, self.header.minor)
    }

    /// The length of the file, in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of the file that are page data.
    #[must_use]
    pub fn page_bytes(&self) -> u64 {
        self.header.records_offset - PAGE_SIZE
    }

    /// Whether `length` bytes at `offset` are page data of this image. A record that points
    /// elsewhere is damaged, whatever its checksum says.
    #[must_use]
    pub fn has_pages(&self, offset: u64, length: u64) -> bool {
        offset % PAGE_SIZE == 0
            && offset >= PAGE_SIZE
            && offset
                .checked_add(length)
                .is_some_and(|end| end <= self.header.records_offset)
    }

    /// Reads all page data that was summed up when it was written, and compares: returns how many
    /// bytes these were.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] names the run of pages that is not what was written; [`Error::Io`].
    pub fn verify_pages(&self) -> Result<u64> {
        let mut buffer = vec![0; 1 << 20];
        let mut verified = 0;
        for sum in &self.sums {
            let mut hasher = XxHash64::with_seed(pages::SEED);
            let end = sum.offset + sum.length;
            let mut at = sum.offset;
            while at < end {
                let part = buffer.len().min((end - at) as usize);
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

/// Takes the records out of their frames; the checksums of pages, which are the format's own, are kept apart.
/// What else a newer format may have is handed on: `inspect` shows it, and a restore refuses what it does
/// not know.
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
