// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The build id of a program or library: a number that linkers compute from everything they link, and put into an ELF
//! note. For two files that have one, it tells whether they are the same build, whenever they were written.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// The bytes read first: linkers put headers and note early in a file, so one read gets both.
const HEAD: usize = 4096;

/// The longest notes that are searched, in bytes.
const LONGEST: u64 = 64 << 10;

const PT_NOTE: u32 = 4;
const NT_GNU_BUILD_ID: u32 = 3;

/// Returns the build id of a file; `None` if it has none, or cannot be read.
#[must_use]
pub fn of(file: &File) -> Option<Vec<u8>> {
    let mut head = vec![0; HEAD];
    let length = file.read_at(&mut head, 0).ok()?;
    head.truncate(length);
    // Only 64-bit files of this byte order are searched.
    if head.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let headers = number::<8>(&head, 32)?;
    let size = number::<2>(&head, 54)?;
    let count = number::<2>(&head, 56)?;
    for index in 0..count {
        let at = usize::try_from(headers.checked_add(index * size)?).ok()?;
        let header = head.get(at..at.checked_add(56)?)?;
        if number::<4>(header, 0)? as u32 != PT_NOTE {
            continue;
        }
        let (offset, length) = (number::<8>(header, 8)?, number::<8>(header, 32)?);
        let mut notes = vec![0; length.min(LONGEST) as usize];
        if file.read_exact_at(&mut notes, offset).is_ok() {
            if let Some(id) = in_notes(&notes, number::<8>(header, 48)? as usize) {
                return Some(id);
            }
        }
    }
    None
}

/// Returns the build id of the file at a path; `None` if it has none, or cannot be read.
#[must_use]
pub fn at(path: &[u8]) -> Option<Vec<u8>> {
    of(&open_file(path)?)
}

fn open_file(path: &[u8]) -> Option<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let path = Path::new(OsStr::from_bytes(path));
    open(path, flags, Mode::empty()).ok().map(File::from)
}

fn in_notes(mut notes: &[u8], alignment: usize) -> Option<Vec<u8>> {
    let alignment = alignment.max(4);
    loop {
        let (name, length) = (number::<4>(notes, 0)?, number::<4>(notes, 4)?);
        let kind = number::<4>(notes, 8)? as u32;
        let start = (12 + name as usize).checked_next_multiple_of(alignment)?;
        let end = start.checked_add(length as usize)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..16) == Some(b"GNU\0") && name == 4 {
            return notes.get(start..end).map(<[u8]>::to_vec);
        }
        notes = notes.get(end.checked_next_multiple_of(alignment)?..)?;
    }
}

/// Reads a little-endian number of `N` bytes.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let mut number = [0; 8];
    number[..N].copy_from_slice(bytes.get(at..at.checked_add(N)?)?);
    Some(u64::from_le_bytes(number))
}

/// Formats a build id for the user.
#[must_use]
pub fn hexadecimal(id: &[u8]) -> String {
    use std::fmt::Write;
    id.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The build ids of the files of a tree. Each file is read once, however many processes have mapped
/// it.
#[derive(Debug, Default)]
pub struct BuildIds(HashMap<(u64, u64), Option<Vec<u8>>>);

impl BuildIds {
    /// Returns the build id of the file with this device and inode, which is at a path.
    pub fn get(&mut self, path: &[u8], (device, inode): (u64, u64)) -> Option<Vec<u8>> {
        let read = || {
            let file = open_file(path)?;
            let found = file.metadata().ok()?;
            ((found.dev(), found.ino()) == (device, inode) && found.is_file()).then(|| of(&file))?
        };
        self.0.entry((device, inode)).or_insert_with(read).clone()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns a program that is nothing but a build id.
    pub(crate) fn program(id: &[u8]) -> Vec<u8> {
        let notes = note(b"GNU\0", NT_GNU_BUILD_ID, id);
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        file[64] = PT_NOTE as u8;
        file[64 + 8] = 64 + 56;
        file[64 + 32..64 + 40].copy_from_slice(&(notes.len() as u64).to_le_bytes());
        file[64 + 48] = 4;
        file.extend(notes);
        file
    }

    fn note(name: &[u8], kind: u32, description: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        note.extend((name.len() as u32).to_le_bytes());
        note.extend((description.len() as u32).to_le_bytes());
        note.extend(kind.to_le_bytes());
        for part in [name, description] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn it_is_found_behind_other_notes() {
        let mut notes = note(b"GNU\0", 1, &[0; 16]);
        notes.extend(note(b"stapsdt\0", 3, &[9; 5]));
        notes.extend(note(b"GNU\0", 3, &[1, 2, 3]));
        assert_eq!(in_notes(&notes, 4), Some(vec![1, 2, 3]));
        assert_eq!(in_notes(&notes[..notes.len() - 4], 4), None);
        assert_eq!(in_notes(&note(b"GNU\0", 1, &[0; 16]), 4), None);
        assert_eq!(in_notes(&[0xff; 64], 4), None);
    }

    #[test]
    fn a_program_has_the_one_in_its_notes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), program(&[7; 20])).unwrap();
        assert_eq!(of(file.as_file()), Some(vec![7; 20]));
        std::fs::write(file.path(), &program(&[7; 20])[..130]).unwrap();
        assert_eq!(of(file.as_file()), None);
    }

    #[test]
    fn what_is_no_program_has_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in ["", "#!/bin/sh\n", "\x7fELF\x02\x01"] {
            std::fs::write(file.path(), text).unwrap();
            assert_eq!(of(file.as_file()), None, "{text:?}");
        }
    }

    /// The C library of this machine has a build id, like those of all distributions.
    #[test]
    fn a_library_has_one() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .find(|path| path.contains("libc.so"));
        if let Some(path) = libc {
            let id = at(path.as_bytes()).unwrap();
            assert!(id.len() >= 8);
            let found = std::fs::metadata(path).unwrap();
            let mut ids = BuildIds::default();
            let key = (found.dev(), found.ino());
            assert_eq!(ids.get(path.as_bytes(), key), Some(id));
            assert_eq!(ids.get(path.as_bytes(), (key.0, key.1 + 1)), None);
        }
    }
}
