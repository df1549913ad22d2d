// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A file with a name: how it is found again, and whether it is still the same file.

pub mod sibling;

use std::ffi::{CString, OsStr};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crust_model::plan::Data;
use crust_model::refusal::{Refusals, Subject};
use crust_sys::statx::{self, Identity};
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path: any bytes except zero.
#[derive(Clone, PartialEq, Eq)]
pub struct FilePath(pub Vec<u8>);

impl FilePath {
    /// Returns the path as an argument of a system call.
    #[must_use]
    pub fn data(&self) -> Data {
        Data::string(&self.0)
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Path::new(OsStr::from_bytes(&self.0)).display())
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", OsStr::from_bytes(&self.0))
    }
}

impl Serialize for FilePath {
    /// Serializes the path as text in human-readable formats, and as bytes in images.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}

/// The name of a file, and what distinguishes it from another file of that name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The path of the file.
    pub path: FilePath,
    /// The device of the file.
    pub dev: u64,
    /// The inode number of the file.
    pub ino: u64,
    /// The type and permissions of the file.
    pub mode: u32,
    /// The length in bytes, if that is meaningful for the type.
    pub size: u64,
    /// The device that it represents, if it is a device node.
    pub rdev: u64,
}

impl Named {
    /// Describes what was found under this name.
    #[must_use]
    pub fn new(path: &[u8], identity: &Identity) -> Self {
        Self {
            path: FilePath(path.to_vec()),
            dev: identity.dev,
            ino: identity.ino,
            mode: identity.mode,
            size: identity.size,
            rdev: identity.rdev,
        }
    }

    /// Refuses the restore if the file is missing, or is another file now.
    pub fn conflicts(&self, refusals: &mut Refusals) {
        let Ok(path) = CString::new(self.path.0.as_slice()) else {
            return;
        };
        let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
        let why = match statx::identity(AT_FDCWD, &path, flags) {
            Ok(now) => self.difference(&now),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Some("the file is missing".to_owned()),
            Err(errno) => Some(format!("the file cannot be examined: {errno}")),
        };
        if let Some(why) = why {
            refusals.block(
                Subject::Image,
                "file-changed",
                self.path.to_string(),
                why,
                "put the file back as it was when the program was dumped",
            );
        }
    }

    /// Describes how the file differs from the one that was dumped. A file that grew is the same: it may be a log.
    fn difference(&self, now: &Identity) -> Option<String> {
        let kind = self.mode & libc::S_IFMT;
        if now.mode & libc::S_IFMT != kind {
            Some("it is a file of another type now".to_owned())
        } else if kind == libc::S_IFCHR {
            // A device node is identified by the device it represents: /dev is recreated at every boot.
            (now.rdev != self.rdev).then(|| "it is another device now".to_owned())
        } else if (now.dev, now.ino) != (self.dev, self.ino) {
            Some(format!(
                "it is another file now: its inode is {}, and was {}",
                now.ino, self.ino
            ))
        } else if kind == libc::S_IFREG && now.size < self.size {
            Some(format!(
                "it is shorter now: it has {} bytes, and had {}",
                now.size, self.size
            ))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Identity = Identity {
        dev: 1,
        ino: 2,
        mode: libc::S_IFREG | 0o644,
        links: 1,
        size: 100,
        rdev: 0,
        mount: 0,
    };

    #[test]
    fn a_file_that_grew_is_the_same() {
        let named = Named::new(b"/log", &LOG);
        let grown = Identity { size: 101, ..LOG };
        assert_eq!(named.difference(&grown), None);
    }

    #[test]
    fn a_shorter_a_replaced_and_a_retyped_file_are_not() {
        let named = Named::new(b"/log", &LOG);
        let shorter = Identity { size: 99, ..LOG };
        let replaced = Identity { ino: 3, ..LOG };
        let retyped = Identity {
            mode: libc::S_IFIFO,
            ..LOG
        };
        for (other, word) in [
            (shorter, "shorter"),
            (replaced, "another file"),
            (retyped, "type"),
        ] {
            let why = named.difference(&other).unwrap_or_default();
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn a_device_node_is_what_it_stands_for() {
        let null = Identity {
            mode: libc::S_IFCHR | 0o666,
            rdev: 0x103,
            ..LOG
        };
        let named = Named::new(b"/dev/null", &null);
        assert_eq!(named.difference(&Identity { ino: 77, ..null }), None);
        assert!(
            named
                .difference(&Identity {
                    rdev: 0x105,
                    ..null
                })
                .is_some()
        );
    }

    #[test]
    fn a_missing_file_is_a_conflict() {
        let mut refusals = Refusals::default();
        Named::new(b"/nonexistent/file", &LOG).conflicts(&mut refusals);
        assert_eq!(refusals.as_slice().len(), 1);
        assert!(refusals.forbid());
    }
}
