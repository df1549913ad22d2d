// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Lists where file systems are mounted (`/proc/self/mountinfo`,
//! `fs/proc_namespace.c:show_mountinfo`).

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crust_model::{Error, Result};

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The device number of the file system.
    pub dev: u64,
    /// Whether the mount shows all of the file system rather than a part of it.
    pub is_whole: bool,
    /// The mount point.
    pub point: PathBuf,
    /// The type of the file system, such as `ext4`.
    pub file_system: String,
}

/// Returns all mounts that crust sees, those of whole file systems first.
///
/// # Errors
///
/// Returns an error if the list cannot be read.
pub fn all() -> Result<Vec<Mount>> {
    let text = fs::read("/proc/self/mountinfo")
        .map_err(|error| Error::from_io("read /proc/self/mountinfo", &error))?;
    let lines = text
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty());
    let mut mounts = lines
        .map(|line| {
            parse(line).ok_or_else(|| {
                Error::malformed("/proc/self/mountinfo", String::from_utf8_lossy(line))
            })
        })
        .collect::<Result<Vec<_>>>()?;
    mounts.sort_by_key(|mount| !mount.is_whole);
    Ok(mounts)
}

/// Parses a line like `36 35 98:0 /part /mnt/a\040b rw,noatime master:1 - ext3 /dev/root rw`.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|&byte| byte == b' ');
    let device = std::str::from_utf8(words.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let root = words.next()?;
    let point = unescape(words.next()?);
    let mut words = words.skip_while(|word| *word != b"-");
    let file_system = words.nth(1)?;
    Some(Mount {
        dev: libc::makedev(major.parse().ok()?, minor.parse().ok()?),
        is_whole: root == b"/",
        point: OsString::from_vec(point).into(),
        file_system: String::from_utf8_lossy(file_system).into_owned(),
    })
}

/// Decodes white space and backslashes, which are shown as three octal digits
/// (`fs/seq_file.c:mangle_path`).
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = behind.get(..3).filter(|_| byte == b'\\');
        let code = digits.and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        bytes.push(code.unwrap_or(byte));
        rest = if code.is_some() { &behind[3..] } else { behind };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let line = br"36 35 98:1048575 /part /mnt/a\040b\134 rw,noatime master:1 shared:2 - ext3 /dev/root rw";
        let mount = parse(line).unwrap();
        assert_eq!(mount.dev, libc::makedev(98, 1_048_575));
        assert_eq!(mount.point, PathBuf::from(r"/mnt/a b\"));
        assert_eq!(
            (mount.is_whole, mount.file_system.as_str()),
            (false, "ext3")
        );
        let line = b"22 1 0:21 / /proc rw,relatime - proc proc rw";
        assert!(parse(line).unwrap().is_whole);
        assert_eq!(parse(b"22 1 0:21 / /proc rw"), None);
    }

    #[test]
    fn our_own_root() {
        let mounts = all().unwrap();
        assert!(mounts.iter().any(|mount| mount.point == Path::new("/")));
    }
}
