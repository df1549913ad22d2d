// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Files of `/proc`: functions that read them, and parsers of their contents.
//!
//! A parser takes bytes or text and makes no system call, so it is tested with the output of real
//! kernels. A value that the kernel does not report is `None`; a file that makes no sense is
//! [`Error::Malformed`]. The readers work below a directory that was opened while the process was
//! alive, so they never read about another process that has the same number now. This crate must
//! not know what a caller does with the results.

#![forbid(unsafe_code)]
// Only tests cast numbers freely: they have chosen them.
#![cfg_attr(
    not(test),
    warn(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        clippy::cast_lossless
    )
)]

mod name;
mod pids;
pub mod smaps;
pub mod timers;

pub use self::name::{comm, named};
pub use self::pids::pids;

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use crust_model::{Error, Result};
use crust_sys::word;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstatat};

/// Opens a file or directory below an open `/proc/PID`, for reading.
///
/// # Errors
///
/// [`Error::Gone`] if the task has died.
pub fn open(proc: impl AsFd, task: i32, name: &str) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    openat(proc.as_fd(), name, flags, Mode::empty()).map_err(|errno| failed(task, name, errno))
}

/// Returns the contents of a file below an open `/proc/PID`.
///
/// # Errors
///
/// [`Error::Gone`] if the task has died.
pub fn read(proc: impl AsFd, task: i32, name: &str) -> Result<Vec<u8>> {
    let file = open(proc, task, name)?;
    // Not `Read::read_to_end`, which asks for size and offset first: these files have no size.
    let next =
        |room: &mut [u8]| nix::unistd::read(&file, room).map_err(|errno| failed(task, name, errno));
    let mut room = [0; ROOM];
    let mut length = next(&mut room)?;
    let mut bytes = room[..length].to_vec();
    if length == 0 || (length < ROOM && !is_list(name)) {
        return Ok(bytes);
    }
    loop {
        if length == bytes.len() {
            bytes.resize(length * 4, 0);
        }
        let got = next(&mut bytes[length..])?;
        length += got;
        if got == 0 || (length < bytes.len() && !is_list(name)) {
            break;
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// The room for the first read of a file: the kernel generates these files on reading, most of them
/// in one go.
const ROOM: usize = 4096;

/// Returns whether the kernel generates a file entry by entry. A read may then be short because the
/// next entry did not fit (fs/seq_file.c:seq_read_iter); otherwise it is short only at the end.
fn is_list(name: &str) -> bool {
    let name = name.rsplit_once('/').map_or(name, |(_, last)| last);
    matches!(name, "maps" | "smaps" | "numa_maps" | "timers" | "children")
}

/// Returns the contents of a file below an open `/proc/PID`, as text. Bytes that are not UTF-8 (a
/// process may have any in its name) are replaced.
///
/// # Errors
///
/// [`Error::Gone`] if the task has died.
pub fn read_text(proc: impl AsFd, task: i32, name: &str) -> Result<String> {
    let bytes = read(proc, task, name)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Returns a `stat` file below an open `/proc/PID`.
///
/// # Errors
///
/// [`Error::Gone`] if the task has died.
pub fn stat(proc: impl AsFd, task: i32, name: &str) -> Result<Stat> {
    Stat::parse(&read(proc, task, name)?).ok_or_else(|| {
        Error::malformed(
            format!("/proc/{task}/{name}"),
            "cannot be read as it should be",
        )
    })
}

/// Returns the target of a link below an open `/proc/PID`.
///
/// # Errors
///
/// [`Error::Gone`] if the task has died.
pub fn link(proc: impl AsFd, task: i32, name: &str) -> Result<PathBuf> {
    let target: OsString =
        readlinkat(proc.as_fd(), name).map_err(|errno| failed(task, name, errno))?;
    Ok(target.into())
}

/// Returns the status of the file behind a link below an open `/proc/PID`.
///
/// # Errors
///
/// [`Error::Gone`] if the task has died.
pub fn stat_of(proc: impl AsFd, task: i32, name: &str) -> Result<FileStat> {
    fstatat(proc.as_fd(), name, nix::fcntl::AtFlags::empty())
        .map_err(|errno| failed(task, name, errno))
}

/// Returns the names in a directory below `/proc/PID` that are numbers.
///
/// # Errors
///
/// [`Error::Task`] if it cannot be listed; for a task that is gone, the result is empty.
pub fn numbers(proc: impl AsFd, task: i32, name: &str) -> Result<Vec<i32>> {
    let failed = |errno| Error::task(task, format!("list /proc/{task}/{name}"), errno);
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut directory = match nix::dir::Dir::openat(proc.as_fd(), name, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::ENOENT | Errno::ESRCH) => return Ok(Vec::new()),
        Err(errno) => return Err(failed(errno)),
    };
    let mut all = Vec::new();
    for entry in directory.iter() {
        let entry = entry.map_err(failed)?;
        if let Some(number) = entry
            .file_name()
            .to_str()
            .ok()
            .and_then(|name| name.parse().ok())
        {
            all.push(number);
        }
    }
    Ok(all)
}

fn failed(task: i32, name: &str, errno: Errno) -> Error {
    // Below a directory that was opened while the process was alive, the kernel returns ENOENT for
    // a thread that is gone, and ESRCH for the process.
    let errno = match errno {
        Errno::ENOENT if name.starts_with("task/") => Errno::ESRCH,
        errno => errno,
    };
    Error::task(task, format!("read /proc/{task}/{name}"), errno)
}

/// A file of lines `Name:<white space>value`, such as `/proc/PID/status` and `/proc/PID/fdinfo/N`.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    text: String,
    /// The offsets of the start, of the colon and of the end, for each line with a colon.
    lines: Vec<[usize; 3]>,
}

impl Fields {
    /// Parses the fields of a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        let mut lines = Vec::with_capacity(64);
        let mut start = 0;
        for line in text.split('\n') {
            if let Some(colon) = line.bytes().position(|byte| byte == b':') {
                let place = |offset: usize| start + offset;
                lines.push([place(0), place(colon), place(line.len())]);
            }
            start += line.len() + 1;
        }
        Self { text, lines }
    }

    /// Returns the value of a field without surrounding white space; the first one, if there are
    /// several.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|&[start, colon, end]| {
            (self.text.as_bytes()[start..colon] == *name.as_bytes())
                .then(|| self.text[colon + 1..end].trim())
        })
    }

    /// Returns the value of a field as a decimal number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.parse().ok()
    }

    /// Returns all decimal numbers in a field.
    #[must_use]
    pub fn numbers(&self, name: &str) -> Option<Vec<u32>> {
        self.get(name)?
            .split_ascii_whitespace()
            .map(|word| word.parse().ok())
            .collect()
    }

    /// Returns the value of a field as a hexadecimal number without `0x`.
    #[must_use]
    pub fn hex(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.get(name)?, 16).ok()
    }
}

/// The contents of `/proc/PID/stat`, by the field numbers of `proc_pid_stat(5)`.
#[derive(Clone, Debug)]
pub struct Stat {
    /// Field 2: the name, which may contain any bytes.
    pub comm: Vec<u8>,
    /// Field 3: the state letter.
    pub state: char,
    /// The fields from 4 on.
    fields: Vec<u64>,
}

impl Stat {
    /// Parses the file. A name may contain anything, including `)` and spaces: the last `)` ends
    /// it.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let begin = bytes.iter().position(|&byte| byte == b'(')? + 1;
        let end = bytes.iter().rposition(|&byte| byte == b')')?;
        let comm = bytes.get(begin..end)?.to_vec();
        let rest = std::str::from_utf8(&bytes[end + 1..]).ok()?;
        let mut words = rest.split_ascii_whitespace();
        let state = words.next()?.chars().next()?;
        let fields = words
            .map(|word| {
                // Some fields are signed.
                word.parse::<u64>()
                    .or_else(|_| word.parse::<i64>().map(word::from_long))
                    .ok()
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            comm,
            state,
            fields,
        })
    }

    /// Returns a field from 4 on; 0 if the kernel does not have it.
    #[must_use]
    pub fn field(&self, number: usize) -> u64 {
        number
            .checked_sub(4)
            .and_then(|index| self.fields.get(index))
            .copied()
            .unwrap_or(0)
    }

    /// Returns a field from 4 on that is an `int` of the kernel, such as a pid.
    #[must_use]
    pub fn int(&self, number: usize) -> i32 {
        word::to_int(self.field(number))
    }

    /// Returns a signed field from 4 on.
    #[must_use]
    pub fn signed(&self, number: usize) -> i64 {
        word::to_long(self.field(number))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn stat_with_a_nasty_name() {
        let stat = Stat::parse(b"12 (a) R (\xff) S 7 12 11 0 -1 4194560 1").unwrap();
        assert_eq!((stat.state, &stat.comm[..]), ('S', &b"a) R (\xff"[..]));
        assert_eq!((stat.field(4), stat.field(5), stat.field(6)), (7, 12, 11));
        assert_eq!(stat.signed(8), -1);
        assert_eq!(stat.field(52), 0);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = Fields::new(
            "Name:\tx\nUid:\t1\t2\t3\t4\nSigQ:\t1/7\nCapInh:\t0000000000000010\n".into(),
        );
        assert_eq!(status.numbers("Uid"), Some(vec![1, 2, 3, 4]));
        assert_eq!(status.hex("CapInh"), Some(16));
        assert_eq!(status.get("Sig"), None);
    }

    #[test]
    fn reads_itself() {
        let proc = File::open("/proc/self").unwrap();
        let status = Fields::new(read_text(&proc, 0, "status").unwrap());
        assert_eq!(status.number("Tgid"), Some(i64::from(std::process::id())));
        assert_eq!(
            link(&proc, 0, "cwd").unwrap(),
            std::env::current_dir().unwrap()
        );
        assert!(matches!(
            read(&proc, 0, "task/1/stat"),
            Err(Error::Gone { .. })
        ));
    }
}
