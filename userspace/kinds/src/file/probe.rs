// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Inspects a descriptor to tell what it refers to, with five system calls for a plain file.
//!
//! These are `readlink` of `/proc/PID/fd/N`, then open, read and close of `/proc/PID/fdinfo/N`, then `statx`. If the
//! link is a path, `statx` queries the *path*: the inode and mount in `fdinfo` tell whether it leads to the open file
//! itself, which also detects files that were replaced or mounted over. Otherwise `statx` follows the link itself.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::str::FromStr;

use crust_model::plan::ProcessId;
use crust_model::{Error, Result};
use crust_sys::statx::{self, Identity};
use crust_sys::{fcntl, pidfd};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::Mode;

use super::{DescriptionId, Open, SignalOwner};
use crate::descriptor::lock::{self, Lock};
use crate::path::sibling;
use crate::pathless::ghost::DELETED;

/// The task that has a descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// The process of the tree; for a descriptor in flight, that of the socket.
    pub process: ProcessId,
    /// The pid of that process.
    pub pid: i32,
    /// The task whose table has the descriptor: that process, or crust if the descriptor was in
    /// flight.
    pub tid: i32,
    /// Whether that task is crust.
    pub is_crust: bool,
    /// The `/proc/PID` directory of that task.
    pub proc: BorrowedFd<'a>,
    /// A pidfd of that task.
    pub pidfd: BorrowedFd<'a>,
}

/// A descriptor, as it was found.
#[derive(Clone, Debug)]
pub struct Probe<'a> {
    /// The open file description; known once the capture has compared it with the others.
    pub id: DescriptionId,
    /// The task that has the descriptor.
    pub holder: Holder<'a>,
    /// The number of the descriptor in that task.
    pub number: i32,
    /// The name of the descriptor in messages to the user.
    pub object: String,
    /// The target of `/proc/PID/fd/N`.
    pub link: Vec<u8>,
    /// The identity of the file, as `statx` returns it.
    pub identity: Identity,
    /// Whether the link is a path that leads to this file.
    pub is_reachable: bool,
    /// The flags of `F_GETFL`, without the descriptor's own `O_CLOEXEC`.
    pub flags: i32,
    /// Whether the descriptor is closed by `execve`.
    pub cloexec: bool,
    /// The file offset.
    pub pos: u64,
    /// The text of `/proc/PID/fdinfo/N`.
    pub info: String,
}

impl<'a> Probe<'a> {
    /// Inspects a descriptor.
    pub fn new(holder: Holder<'a>, number: i32, object: String) -> Result<Self> {
        let failed = |what: &str, errno| {
            Error::task(holder.pid, format!("{object}: {what} of /proc/PID"), errno)
        };
        let name = format!("fd/{number}");
        let link = readlinkat(holder.proc, name.as_str())
            .map_err(|errno| failed("read the link", errno))?
            .into_vec();
        let info = read_text(holder.proc, &format!("fdinfo/{number}"))
            .map_err(|errno| failed("read fdinfo", errno))?;
        let raw_flags = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:\t"))
            .and_then(|text| i32::from_str_radix(text.trim(), 8).ok())
            .ok_or_else(|| Error::malformed(format!("{object}: fdinfo"), "no flags"))?;
        let mut probe = Self {
            id: DescriptionId(u32::MAX),
            holder,
            number,
            object: String::new(),
            link,
            identity: Identity::default(),
            is_reachable: false,
            // The kernel's own O_LARGEFILE differs from that of 64-bit libc, which is 0.
            flags: raw_flags & !(libc::O_CLOEXEC | O_LARGEFILE),
            cloexec: raw_flags & libc::O_CLOEXEC != 0,
            pos: 0,
            info,
        };
        probe.pos = probe.number_field("pos").unwrap_or(0);
        let mut found = probe.find_by_path();
        let plain = probe.link.strip_suffix(DELETED).map(<[u8]>::to_vec);
        if let (None, Some(path)) = (found, plain) {
            // The file may have been given its name again.
            let link = std::mem::replace(&mut probe.link, path);
            found = probe.find_by_path().filter(|found| probe.is_surely(found));
            if found.is_none() {
                probe.link = link;
            }
        }
        (probe.identity, probe.is_reachable) = match found {
            Some(identity) if probe.is_surely(&identity) => (identity, true),
            found => {
                let link = CString::new(name).unwrap_or_default();
                let identity = statx::identity(holder.proc, &link, libc::AT_NO_AUTOMOUNT)
                    .map_err(|errno| failed("statx", errno))?;
                let same = found
                    .is_some_and(|found| (found.dev, found.ino) == (identity.dev, identity.ino));
                (identity, same)
            }
        };
        probe.object = object;
        probe.look_for_sibling();
        Ok(probe)
    }

    /// Looks for another name, in the same directory, of a file that has lost its name.
    fn look_for_sibling(&mut self) {
        let Some(path) = self.link.strip_suffix(DELETED) else {
            return;
        };
        if self.is_reachable || self.identity.links == 0 || self.file_type() != libc::S_IFREG {
            return;
        }
        if let Some(other) = sibling::find(path, self.identity.dev, self.identity.ino) {
            self.link = other;
            self.is_reachable = true;
        }
    }

    fn find_by_path(&self) -> Option<Identity> {
        if !self.link.starts_with(b"/") {
            return None;
        }
        let path = CString::new(self.link.as_slice()).ok()?;
        let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
        statx::identity(AT_FDCWD, &path, flags).ok()
    }

    /// Returns whether the file at the path is the open file itself, according to `fdinfo`. On file
    /// systems whose `st_ino` is not the inode's number (overlayfs, btrfs) the answer may be no
    /// even if it is.
    fn is_surely(&self, identity: &Identity) -> bool {
        self.number_field("ino") == Some(identity.ino)
            && self.number_field("mnt_id") == Some(identity.mount)
    }

    /// Returns the task and the number, for comparisons by `kcmp`.
    #[must_use]
    pub fn descriptor(&self) -> (i32, i32) {
        (self.holder.tid, self.number)
    }

    /// Returns `S_IFREG` or another file type; 0 for an anonymous inode.
    #[must_use]
    pub fn file_type(&self) -> u32 {
        self.identity.mode & libc::S_IFMT
    }

    /// Returns whether the link is exactly this, such as `anon_inode:[eventfd]`.
    #[must_use]
    pub fn is_linked(&self, link: &str) -> bool {
        self.link == link.as_bytes()
    }

    /// Returns a field of `fdinfo`: the text after its name, colon and white space.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.info.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?.strip_prefix(':')?;
            Some(rest.trim())
        })
    }

    /// Returns a decimal field of `fdinfo`.
    pub fn number_field<T: FromStr>(&self, name: &str) -> Option<T> {
        self.field(name)?.parse().ok()
    }

    /// Returns a field of `fdinfo` that must be present.
    pub fn demand<T>(&self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        self.field(name)
            .and_then(parse)
            .ok_or_else(|| self.malformed(format!("no {name} that makes sense")))
    }

    /// Returns an error which says that what was read of this descriptor makes no sense.
    #[must_use]
    pub fn malformed(&self, problem: impl Into<String>) -> Error {
        Error::malformed(
            format!("task {}: {}: fdinfo", self.holder.pid, self.object),
            problem,
        )
    }

    /// Opens the same description in crust as well.
    pub fn take(&self) -> Result<OwnedFd> {
        pidfd::get_fd(self.holder.pidfd, self.number)
            .map_err(|errno| self.failed("pidfd_getfd", errno))
    }

    /// Returns the error of a system call about this descriptor.
    #[must_use]
    pub fn failed(&self, call: &str, errno: Errno) -> Error {
        Error::task(self.holder.pid, format!("{}: {call}", self.object), errno)
    }

    /// Returns the state that every description has. The owner is left out, since only the file
    /// itself tells it: this is for kinds of files that send no signals.
    #[must_use]
    pub fn open(&self) -> Open {
        Open {
            flags: self.flags,
            owner: None,
            locks: self
                .locks()
                .filter(|lock| lock.is_of_description())
                .collect(),
        }
    }

    /// Returns the state that every description has, including its owner.
    pub fn open_with_owner(&self, file: impl AsFd) -> Result<Open> {
        let owner =
            fcntl::owner(file.as_fd()).map_err(|errno| self.failed("F_GETOWN_EX", errno))?;
        let signal = fcntl::signal(file.as_fd()).map_err(|errno| self.failed("F_GETSIG", errno))?;
        Ok(Open {
            owner: (owner.pid != 0 || signal != 0).then_some(SignalOwner { owner, signal }),
            ..self.open()
        })
    }

    /// Returns the locks that this descriptor shows.
    pub fn locks(&self) -> impl Iterator<Item = Lock> + '_ {
        self.lock_lines().filter_map(lock::parse)
    }

    /// Returns the locks that this descriptor shows and whose type is not carried over.
    pub fn foreign_locks(&self) -> impl Iterator<Item = &str> + '_ {
        self.lock_lines().filter(|line| lock::parse(line).is_none())
    }

    fn lock_lines(&self) -> impl Iterator<Item = &str> + '_ {
        self.info
            .lines()
            .filter_map(|line| line.strip_prefix("lock:"))
    }
}

/// The kernel's `O_LARGEFILE` on x86-64, which it sets on every file that `open` opens.
const O_LARGEFILE: i32 = 0o100_000;

/// Reads a whole file of `/proc`, in one read if it is short.
pub(super) fn read_text(dir: impl AsFd, name: &str) -> nix::Result<String> {
    let file = openat(dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut bytes = vec![0; 4096];
    let mut length = 0;
    loop {
        let got = nix::unistd::read(file.as_fd(), &mut bytes[length..])?;
        length += got;
        // The kernel generates these files in one go: a short read is the last.
        if got == 0 || length < bytes.len() {
            break;
        }
        bytes.resize(bytes.len() * 4, 0);
    }
    bytes.truncate(length);
    String::from_utf8(bytes).map_err(|_| Errno::EILSEQ)
}
