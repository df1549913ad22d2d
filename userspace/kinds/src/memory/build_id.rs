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
use object::LittleEndian;
use object::elf::{ELF_NOTE_GNU, FileHeader64, NT_GNU_BUILD_ID, PT_NOTE};
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader};

/// The bytes read first: linkers put headers and note early in a file, so one read gets both.
const HEAD: usize = 4096;

/// The longest notes that are searched, in bytes.
const LONGEST: u64 = 64 << 10;

type Header = FileHeader64<LittleEndian>;

/// Returns the build id of a file; `None` if it has none, or cannot be read.
#[must_use]
pub fn of(file: &File) -> Option<Vec<u8>> {
    let mut head = vec![0; HEAD];
    let length = file.read_at(&mut head, 0).ok()?;
    head.truncate(length);
    // Only 64-bit files of this byte order are searched.
    let header = Header::parse(&*head).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, &*head).ok()?.iter();
    segments
        .filter(|segment| segment.p_type(endian) == PT_NOTE)
        .find_map(|segment| {
            let (offset, length) = segment.file_range(endian);
            let mut notes = vec![0; length.min(LONGEST) as usize];
            file.read_exact_at(&mut notes, offset).ok()?;
            in_notes(&notes, segment.p_align(endian))
        })
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

fn in_notes(notes: &[u8], alignment: u64) -> Option<Vec<u8>> {
    let mut notes = NoteIterator::<Header>::new(LittleEndian, alignment, notes).ok()?;
    while let Some(note) = notes.next().ok()? {
        if note.name() == ELF_NOTE_GNU && note.n_type(LittleEndian) == NT_GNU_BUILD_ID {
            return Some(note.desc().to_vec());
        }
    }
    None
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
        let notes = note(b"GNU\0", 3, id);
        let mut file = vec![0; 64 + 56];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        file[64] = 4;
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

    /// Whatever the headers say, nothing panics or is read without a limit.
    #[test]
    fn a_damaged_program_does_no_harm() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let whole = program(&[7; 20]);
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = byte;
                std::fs::write(file.path(), &damaged).unwrap();
                assert!(of(file.as_file()).is_none_or(|id| id.len() <= whole.len()));
            }
        }
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
