// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The header: the first page of an image.
//!
//! ```text
//!  0   magic           [u8; 8]   89 'C' 'R' 'U' 'S' 'T' 0d 0a
//!  8   major, minor    2 * u16   version of the format, not of the program
//! 12   machine         u16       ELF machine number: 62 is x86-64
//! 14   (zero)          u16
//! 16   page size       u32
//! 20   (zero)          u32
//! 24   records offset  u64       from the beginning of the file
//! 32   records length  u64
//! 40   records count   u64
//! 48   checksum        u32       CRC-32 of bytes 0..48
//! 52   (zero)                    up to the origin (`origin.rs`), and from there to the page size
//! ```
//!
//! The pages begin after the header's page and end where the records begin; the file ends where
//! the records end, to the byte.

use std::cmp::Ordering;
use std::path::Path;

use crate::{Error, MAX_RECORDS, Result};

/// Files with another major version are not read.
pub const FORMAT_MAJOR: u16 = 1;
/// A larger minor version has tags that an older reader does not know; it reads the others.
pub const FORMAT_MINOR: u16 = 0;
/// `EM_X86_64`, the machine of the images that this build writes and reads.
pub const MACHINE: u16 = 62;
/// The page size of the machine, in bytes.
pub const PAGE_SIZE: u64 = 4096;

// The high bit and the line end reveal a file that was transferred as text, as PNG's magic does.
const MAGIC: [u8; 8] = *b"\x89CRUST\r\n";
const SUMMED: usize = 48;
/// The problem with a file that is longer than its header says.
pub(crate) const BYTES_FOLLOW: &str = "bytes follow the end of the image";
/// The bytes of the header that are not zero.
pub(crate) const LENGTH: usize = 52;

/// The locations of the parts of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) minor: u16,
    pub(crate) records_offset: u64,
    pub(crate) records_length: u64,
    pub(crate) records_count: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT_MAJOR.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.minor.to_le_bytes());
        bytes[12..14].copy_from_slice(&MACHINE.to_le_bytes());
        // The field has four bytes, of which a page size of this machine fills two.
        bytes[16..20].copy_from_slice(&PAGE_SIZE.to_le_bytes()[..4]);
        bytes[24..32].copy_from_slice(&self.records_offset.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.records_length.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.records_count.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..SUMMED]);
        bytes[SUMMED..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Decodes the header of an image; `bytes` are the start of the image.
    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Self> {
        let not_an_image = |problem: &str| Error::NotAnImage {
            path: path.to_owned(),
            problem: problem.into(),
        };
        let unsupported = |problem: String| Error::Unsupported {
            path: path.to_owned(),
            problem,
        };
        let damaged = |offset, problem: &str| Error::damaged(path, offset, problem);

        if bytes.is_empty() {
            return Err(not_an_image("it is empty"));
        }
        let magic = bytes.len().min(MAGIC.len());
        if bytes[..magic] != MAGIC[..magic] {
            return Err(not_an_image("it begins with other bytes"));
        }
        let Some(bytes) = bytes.first_chunk::<LENGTH>() else {
            return Err(damaged(bytes.len() as u64, "the header is cut off"));
        };
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        // Check the checksum first: otherwise a damaged version would be taken for a new one.
        if crc32fast::hash(&bytes[..SUMMED]) != word(SUMMED) {
            return Err(damaged(0, "the checksum of the header is wrong"));
        }
        let (major, minor) = (half(8), half(10));
        if major != FORMAT_MAJOR {
            return Err(unsupported(format!(
                "the format is {major}.{minor}, this crust reads {FORMAT_MAJOR}.x"
            )));
        }
        if half(12) != MACHINE {
            return Err(unsupported(format!(
                "the image is of ELF machine {}, this is {MACHINE}",
                half(12)
            )));
        }
        if u64::from(word(16)) != PAGE_SIZE {
            return Err(unsupported(format!(
                "the image has pages of {} bytes, this machine of {PAGE_SIZE}",
                word(16)
            )));
        }
        let header = Self {
            minor,
            records_offset: long(24),
            records_length: long(32),
            records_count: long(40),
        };
        if header.records_offset < PAGE_SIZE || header.records_offset % PAGE_SIZE != 0 {
            return Err(damaged(24, "the records do not begin on a page"));
        }
        if header.records_length > MAX_RECORDS {
            return Err(damaged(
                32,
                "the header says that there are more records than an image can hold",
            ));
        }
        if header
            .records_offset
            .checked_add(header.records_length)
            .is_none()
        {
            return Err(damaged(24, "the image would be larger than a file can be"));
        }
        Ok(header)
    }

    /// Returns the length of the image: it ends where the records end, to the byte.
    pub(crate) fn image_length(&self) -> u64 {
        // `decode` has checked that the sum does not overflow.
        self.records_offset.saturating_add(self.records_length)
    }

    /// Checks that a file of `file_length` bytes has these parts and nothing else.
    pub(crate) fn fits(&self, file_length: u64, path: &Path) -> Result<()> {
        let end = self.image_length();
        match end.cmp(&file_length) {
            Ordering::Equal => Ok(()),
            Ordering::Less => Err(Error::damaged(path, end, BYTES_FOLLOW)),
            Ordering::Greater => Err(Error::damaged(path, file_length, "the image is cut off")),
        }
    }
}
