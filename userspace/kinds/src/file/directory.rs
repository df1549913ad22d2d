// SPDX-License-Identifier: Apache-2.0 OR MIT

//! An open directory, restored by its path.
//!
//! The offset is the file system's own cookie (`telldir`). It is restored unchanged, which works as
//! long as the file system is the same.

use super::by_path::PathKind;
use super::probe::Probe;

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directory {}

impl PathKind for Directory {
    const TAG: u16 = 0x0311;
    const NAME: &'static str = "directory";
    const SUPPORT: &'static str = "Path, position, flags. Deleted directories are refused.";

    fn matches(probe: &Probe) -> bool {
        probe.file_type() == libc::S_IFDIR && probe.link.starts_with(b"/")
    }
}
