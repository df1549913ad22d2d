// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is looked at to tell what a descriptor is: five system calls for a plain file.
//!
//! `readlink` of `/proc/PID/fd/N`, then open, read, close of `/proc/PID/fdinfo/N`, then `statx`. If
//! the link is a path, `statx` asks the *path*: inode and mount in `fdinfo` tell whether it leads to
//! the very file, which also finds files that were replaced or mounted over. Else the link
//! itself is followed.

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

/// Who has a descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// The process of the tree; for a descriptor in flight that of the socket.
    pub process: ProcessId,
    /// Its pid.
    pub pid: i32,
    /// In whose table the descriptor is: that process, or crust if it was in flight.
    pub tid: i32,
    /// Whether that is crust.
    pub is_crust: bool,
    /// Its `/proc/PID`.
    pub proc: BorrowedFd<'a>,
    /// A pidfd of it.
    pub pidfd: BorrowedFd<'a>,
}

/// A descriptor, as it was found.
#[derive(Clone, Debug)]
pub struct Probe<'a> {
    /// The description; known after the capture has compared it with the others.
    pub id: DescriptionId,
    /// Who has it.
    pub holder: Holder<'a>,
    /// The number there.
    pub number: i32,
    /// How it is called to people.
    pub object: String,
    /// The target of `/proc/PID/fd/N`.
    pub link: Vec<u8>,
    /// What `statx` says.
    pub identity: Identity,
    /// Whether the link is a path that leads to this file.
    pub is_reachable: bool,
    /// `F_GETFL`, without the descriptor's own `O_CLOEXEC`.
    pub flags: i32,
    /// Whether the descriptor is closed by `execve`.
    pub cloexec: bool,
    /// The file offset.
    pub pos: u64,
    /// `/proc/PID/fdinfo/N`.
    pub info: String,
}

impl<'a> Probe<'a> {
    /// Looks at a descriptor.
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
            // The kernel's own O_LARGEFILE is not that of 64-bit libc, which is 0.
            flags: raw_flags & !(libc::O_CLOEXEC | O_LARGEFILE),
            cloexec: raw_flags & libc::O_CLOEXEC != 0,
            pos: 0,
            info,
        };
        probe.pos = probe.number_field("pos").unwrap_or(0);
        let mut found = probe.find_by_path();
        let plain = probe.link.strip_suffix(DELETED).map(<[u8]>::to_vec);
        if let (None, Some(path)) = (found, plain) {
            // It may have got its name again.
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

    /// A file that has lost its name may have another one beside it.
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

    /// Whether what is at the path is the open file itself, by what `fdinfo` says. File systems
    /// whose `st_ino` is not the inode's number (overlayfs, btrfs) may say no when it is.
    fn is_surely(&self, identity: &Identity) -> bool {
        self.number_field("ino") == Some(identity.ino)
            && self.number_field("mnt_id") == Some(identity.mount)
    }

    /// The task and the number, for comparisons by `kcmp`.
    #[must_use]
    pub fn descriptor(&self) -> (i32, i32) {
        (self.holder.tid, self.number)
    }

    /// `S_IFREG` or its kin; 0 for an anonymous inode.
    #[must_use]
    pub fn file_type(&self) -> u32 {
        self.identity.mode & libc::S_IFMT
    }

    /// Whether the link is exactly this, as `anon_inode:[eventfd]`.
    #[must_use]
    pub fn is_linked(&self, link: &str) -> bool {
        self.link == link.as_bytes()
    }

    /// A field of `fdinfo`: the text after its name, colon and white space.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.info.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?.strip_prefix(':')?;
            Some(rest.trim())
        })
    }

    /// A decimal field of `fdinfo`.
    pub fn number_field<T: FromStr>(&self, name: &str) -> Option<T> {
        self.field(name)?.parse().ok()
    }

    /// A field of `fdinfo` that must be there.
    pub fn demand<T>(&self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        self.field(name)
            .and_then(parse)
            .ok_or_else(|| self.malformed(format!("no {name} that makes sense")))
    }

    /// Says that what was read of this descriptor makes no sense.
    #[must_use]
    pub fn malformed(&self, problem: impl Into<String>) -> Error {
        Error::malformed(
            format!("task {}: {}: fdinfo", self.holder.pid, self.object),
            problem,
        )
    }

    /// The same description, open here as well.
    pub fn take(&self) -> Result<OwnedFd> {
        pidfd::get_fd(self.holder.pidfd, self.number)
            .map_err(|errno| self.failed("pidfd_getfd", errno))
    }

    /// An error of a system call about this descriptor.
    #[must_use]
    pub fn failed(&self, call: &str, errno: Errno) -> Error {
        Error::task(self.holder.pid, format!("{}: {call}", self.object), errno)
    }

    /// What every description has. Without the file itself at hand the owner is not known: for
    /// kinds of files that send no signals.
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

    /// What every description has, with its owner.
    pub fn open_with_owner(&self, file: impl AsFd) -> Result<Open> {
        let owner =
            fcntl::owner(file.as_fd()).map_err(|errno| self.failed("F_GETOWN_EX", errno))?;
        let signal = fcntl::signal(file.as_fd()).map_err(|errno| self.failed("F_GETSIG", errno))?;
        Ok(Open {
            owner: (owner.pid != 0 || signal != 0).then_some(SignalOwner { owner, signal }),
            ..self.open()
        })
    }

    /// The locks that this descriptor shows.
    pub fn locks(&self) -> impl Iterator<Item = Lock> + '_ {
        self.lock_lines().filter_map(lock::parse)
    }

    /// The locks that this descriptor shows and that are of no type that is carried.
    pub fn foreign_locks(&self) -> impl Iterator<Item = &str> + '_ {
        self.lock_lines().filter(|line| lock::parse(line).is_none())
    }

    fn lock_lines(&self) -> impl Iterator<Item = &str> + '_ {
        self.info
            .lines()
            .filter_map(|line| line.strip_prefix("lock:"))
    }
}

/// `O_LARGEFILE` of the kernel on x86-64, which it sets on every file that `open` opens.
const O_LARGEFILE: i32 = 0o100_000;

/// Reads a whole file of `/proc` in one read, if it is not long.
pub(super) fn read_text(dir: impl AsFd, name: &str) -> nix::Result<String> {
    let file = openat(dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut bytes = vec![0; 4096];
    let mut length = 0;
    loop {
        let got = nix::unistd::read(file.as_fd(), &mut bytes[length..])?;
        length += got;
        // These files are made at once: a read that is short is the last.
        if got == 0 || length < bytes.len() {
            break;
        }
        bytes.resize(bytes.len() * 4, 0);
    }
    bytes.truncate(length);
    String::from_utf8(bytes).map_err(|_| Errno::EILSEQ)
}
