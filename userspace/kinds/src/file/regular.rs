// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A regular file, restored by opening its path; also any file that was opened with `O_PATH`.
//!
//! The contents stay where they are: they are not part of the image. A restore checks that the path
//! still leads to the same inode, and that the file is not shorter. It may have grown, as a log
//! does that other programs write to as well.

use super::by_path::PathKind;
use super::probe::Probe;

/// A file that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Regular {}

impl PathKind for Regular {
    const TAG: u16 = 0x0310;
    const NAME: &'static str = "regular file";
    const SUPPORT: &'static str = "Path, offset, flags, locks; any file opened with O_PATH. The \
        contents are not in the image.";

    fn matches(probe: &Probe) -> bool {
        let is_by_path_only = probe.flags & libc::O_PATH != 0;
        probe.link.starts_with(b"/")
            && match probe.file_type() {
                libc::S_IFREG => true,
                libc::S_IFDIR => false,
                _ => is_by_path_only,
            }
    }
}
