// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The contents of a file that an image has to hold: its size, and the pages that are not holes.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use crust_image::PAGE_SIZE;
use crust_sys::word;
use nix::errno::Errno;
use nix::sys::statfs::{HUGETLBFS_MAGIC, fstatfs};
use nix::unistd::{Whence, lseek};

use super::Contents;
use crate::contents::Runs;

/// The number of bytes of a huge page that are examined together.
const PIECE: u64 = 256 << 10;

/// Finds the contents of a file. This moves the offset of its open file description.
///
/// # Errors
///
/// If `lseek` or `read` fails.
pub fn contents(file: &File) -> nix::Result<Contents> {
    let metadata = file.metadata().map_err(|error| errno(&error))?;
    let size = metadata.size();
    let is_huge = fstatfs(file)?.filesystem_type() == HUGETLBFS_MAGIC;
    Ok(Contents {
        size,
        huge: if is_huge {
            let exponent = metadata.blksize().trailing_zeros();
            u8::try_from(exponent).map_err(|_| Errno::EOVERFLOW)?
        } else {
            0
        },
        offset: 0,
        runs: if is_huge {
            written(file, size).map_err(|error| errno(&error))?
        } else {
            no_holes(file)?
        },
    })
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

/// Returns the pages that the file system has allocated.
fn no_holes(file: &File) -> nix::Result<Runs> {
    let mut runs = Runs::default();
    let (mut at, mut end) = (0, 0);
    loop {
        let data = match lseek(file.as_fd(), at, Whence::SeekData) {
            // Nothing but a hole follows.
            Err(Errno::ENXIO) => return Ok(runs),
            result => result?,
        };
        at = lseek(file.as_fd(), data, Whence::SeekHole)?;
        // Blocks may be smaller than pages: two that are not adjacent can be in one page.
        let start = (word::from_long(data) / PAGE_SIZE * PAGE_SIZE).max(end);
        end = word::from_long(at).next_multiple_of(PAGE_SIZE);
        if start < end {
            runs.push(start..end);
        }
    }
}

/// Returns the pages that are not all zeros: hugetlbfs does not report holes, but they can be read.
fn written(file: &File, size: u64) -> std::io::Result<Runs> {
    let mut runs = Runs::default();
    let mut buffer = vec![0; word::to_size(PIECE)];
    let mut at = 0;
    while at < size {
        let length = PIECE.min(size - at);
        let piece = &mut buffer[..word::to_size(length)];
        file.read_exact_at(piece, at)?;
        if piece.iter().any(|byte| *byte != 0) {
            runs.push(at..at + length);
        }
        at += length;
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    fn memfd() -> File {
        File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap())
    }

    #[test]
    fn holes_are_no_contents() {
        let file = memfd();
        file.set_len(100 * PAGE_SIZE + 7).unwrap();
        file.write_all_at(b"a", 3 * PAGE_SIZE + 5).unwrap();
        file.write_all_at(b"b", 100 * PAGE_SIZE + 6).unwrap();
        let contents = contents(&file).unwrap();
        assert_eq!(contents.size, 100 * PAGE_SIZE + 7);
        assert_eq!(contents.huge, 0);
        let pages: Vec<_> = contents.runs.ranges().iter().map(|run| run.start).collect();
        // With transparent huge pages in shmem there are more.
        assert!(pages.contains(&(3 * PAGE_SIZE)) || contents.runs.bytes() > 2 * PAGE_SIZE);
        assert!(contents.runs.touch(&(100 * PAGE_SIZE..101 * PAGE_SIZE)));
    }

    #[test]
    fn an_empty_file_has_none() {
        assert_eq!(contents(&memfd()).unwrap(), Contents::default());
    }

    #[test]
    fn pieces_of_zeros_are_no_contents() {
        let mut file = memfd();
        file.write_all(&vec![0; 3 * PIECE as usize]).unwrap();
        file.write_all_at(b"x", PIECE + 9).unwrap();
        let runs = written(&file, 3 * PIECE).unwrap();
        assert!(runs.ranges().iter().eq([&(PIECE..2 * PIECE)]));
    }
}
