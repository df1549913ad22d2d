// SPDX-License-Identifier: Apache-2.0 OR MIT

//! File identities by `statx(2)`, which, unlike `stat`, also tells the mount in which a file was
//! found.

use std::ffi::CStr;
use std::os::fd::AsFd;

use nix::errno::Errno;
use rustix::fs::{AtFlags, StatxFlags, statx};

use crate::Result;
use crate::raw::errno;

/// The attributes that identify a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The device number, as `makedev` makes it.
    pub dev: u64,
    /// The inode number.
    pub ino: u64,
    /// The type and permissions.
    pub mode: u32,
    /// The number of hard links.
    pub links: u32,
    /// The length in bytes.
    pub size: u64,
    /// The device that a device node represents.
    pub rdev: u64,
    /// The mount id, as `mnt_id` in `/proc/PID/fdinfo`.
    pub mount: u64,
}

/// Returns the identity of the file at a path below a directory; `flags` are `AT_*`.
pub fn identity(dir: impl AsFd, path: &CStr, flags: i32) -> Result<Identity> {
    let flags = u32::try_from(flags).map_err(|_| Errno::EINVAL)?;
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let answer = statx(dir, path, AtFlags::from_bits_retain(flags), mask).map_err(errno)?;
    Ok(Identity {
        dev: libc::makedev(answer.stx_dev_major, answer.stx_dev_minor),
        ino: answer.stx_ino,
        mode: u32::from(answer.stx_mode),
        links: answer.stx_nlink,
        size: answer.stx_size,
        rdev: libc::makedev(answer.stx_rdev_major, answer.stx_rdev_minor),
        mount: answer.stx_mnt_id,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::linux::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_null_device() {
        let root = File::open("/").unwrap();
        let null = identity(&root, c"dev/null", 0).unwrap();
        assert_eq!(null.rdev, libc::makedev(1, 3));
        assert_eq!(null.mode & libc::S_IFMT, libc::S_IFCHR);
        let metadata = std::fs::metadata("/dev/null").unwrap();
        assert_eq!((null.dev, null.ino), (metadata.st_dev(), metadata.st_ino()));
    }
}
