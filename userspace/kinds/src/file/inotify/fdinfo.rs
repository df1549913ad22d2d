// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Parses the watches of an inotify instance in `fdinfo` (`fs/notify/fdinfo.c:inotify_fdinfo`).

use crust_sys::handle::FileHandle;

/// A watch, as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The watch descriptor.
    pub wd: i32,
    /// The device number of the file system, as in `mountinfo`. On btrfs and overlayfs it is not what `stat` returns
    /// for the file.
    pub dev: u64,
    /// The inode number, which on overlayfs is not what `stat` returns either.
    pub ino: u64,
    /// The events that are watched for, with `IN_EXCL_UNLINK` and `IN_ONESHOT` (since Linux 5.19).
    pub mask: u32,
    /// The file handle. None is shown if the file system has no file handles, or is being unmounted or frozen.
    pub handle: Option<FileHandle>,
}

impl Mark {
    /// Returns whether two watches are of the same file.
    #[must_use]
    pub fn is_of_same_file(&self, other: &Self) -> bool {
        // Two subvolumes of btrfs have the same device number here, and the same inode numbers.
        let is_other = |pair: (&FileHandle, &FileHandle)| pair.0 != pair.1;
        let differ = self.handle.as_ref().zip(other.handle.as_ref());
        (self.dev, self.ino) == (other.dev, other.ino) && !differ.is_some_and(is_other)
    }
}

/// Parses the watches in the order of `fdinfo`: the latest first (`fs/notify/mark.c:fsnotify_add_mark_locked`).
///
/// # Errors
///
/// Returns the first line that makes no sense.
pub fn marks(text: &str) -> Result<Vec<Mark>, &str> {
    text.lines()
        .filter(|line| line.starts_with("inotify "))
        .map(|line| parse(line).ok_or(line))
        .collect()
}

/// Parses a line like `inotify wd:3 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8
/// fhandle-type:1 f_handle:7e9e0000640d1b6d`, in which all numbers are hexadecimal.
fn parse(line: &str) -> Option<Mark> {
    let value = |name: &str| {
        let mut words = line.split_whitespace();
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix(':'))
    };
    let hex = |name: &str| u64::from_str_radix(value(name)?, 16).ok();
    let handle = match value("f_handle") {
        None => None,
        Some(digits) => {
            let bytes = bytes(digits)?;
            if hex("fhandle-bytes")? != bytes.len() as u64 {
                return None;
            }
            let kind = i32::try_from(hex("fhandle-type")?).ok()?;
            Some(FileHandle::new(kind, &bytes)?)
        }
    };
    // The kernel's own dev_t has 20 bits for the minor number.
    let dev = u32::try_from(hex("sdev")?).ok()?;
    Some(Mark {
        wd: i32::try_from(hex("wd")?).ok()?,
        dev: libc::makedev(dev >> 20, dev & 0xf_ffff),
        ino: hex("ino")?,
        mask: u32::try_from(hex("mask")?).ok()?,
        handle,
    })
}

/// Decodes two hexadecimal digits for each byte.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    if digits.len() % 2 != 0 || !digits.is_ascii() {
        return None;
    }
    let pairs = (0..digits.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "inotify wd:1f ino:9e7e sdev:800013 mask:84000fce ignored_mask:0 \
        fhandle-bytes:8 fhandle-type:1 f_handle:7e9e0000640d1b6d";

    #[test]
    fn a_line_of_the_kernel() {
        let bytes = [0x7e, 0x9e, 0, 0, 0x64, 0x0d, 0x1b, 0x6d];
        let mark = Mark {
            wd: 31,
            dev: libc::makedev(8, 19),
            ino: 0x9e7e,
            mask: 0x8400_0fce,
            handle: FileHandle::new(1, &bytes),
        };
        let text = format!("pos:\t0\nflags:\t02000000\n{LINE}\n");
        assert_eq!(marks(&text), Ok(vec![mark]));
    }

    #[test]
    fn a_file_system_without_handles() {
        let line = "inotify wd:2 ino:1 sdev:2a mask:2 ignored_mask:0 ";
        let marks = marks(line).unwrap();
        assert_eq!((marks[0].wd, &marks[0].handle), (2, &None));
        assert_eq!(marks[0].dev, libc::makedev(0, 42));
    }

    #[test]
    fn lines_that_make_no_sense() {
        for (old, new) in [
            ("wd:1f", "wd:80000000"),
            ("wd:1f", "wd"),
            ("ino:9e7e", "ino:x"),
            ("fhandle-bytes:8", "fhandle-bytes:7"),
            ("f_handle:7e", "f_handle:7"),
            ("f_handle:7e", "f_handle:é"),
        ] {
            let line = LINE.replace(old, new);
            assert_eq!(marks(&line), Err(line.as_str()));
        }
    }

    #[test]
    fn the_handle_tells_files_of_the_same_number_from_each_other() {
        let ours = parse(LINE).unwrap();
        let same = Mark {
            wd: 7,
            mask: 1,
            ..ours.clone()
        };
        let unnamed = Mark {
            handle: None,
            ..ours.clone()
        };
        let other = Mark {
            handle: FileHandle::new(1, &[1]),
            ..ours.clone()
        };
        assert!(ours.is_of_same_file(&same) && ours.is_of_same_file(&unnamed));
        assert!(!ours.is_of_same_file(&other));
    }
}
