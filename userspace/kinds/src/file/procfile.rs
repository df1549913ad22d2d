// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A file or directory of `/proc`, restored by opening its path.
//!
//! Its inode number means nothing, as `/proc` makes inodes when they are looked up. What was read of it so far was a
//! snapshot: reading continues at the same offset of a new one, as it would for a program that seeks.

use super::by_path::PathKind;
use super::collect::FileCapture;
use super::probe::Probe;

/// A file of `/proc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcFile {}

impl PathKind for ProcFile {
    const TAG: u16 = 0x0312;
    const NAME: &'static str = "file of /proc";
    const SUPPORT: &'static str = "Path, offset, flags; of the tree's own processes and of the \
        system. What it says is what is true after the restore.";
    const MUST_BE_THE_SAME: bool = false;

    fn matches(probe: &Probe) -> bool {
        let is_within = probe.link == b"/proc" || probe.link.starts_with(b"/proc/");
        is_within && matches!(probe.file_type(), libc::S_IFREG | libc::S_IFDIR)
    }

    /// Refuses a file of a process or thread outside the tree, since it only lives as long as that
    /// task.
    fn objection(probe: &Probe, cx: &FileCapture) -> Option<(String, &'static str)> {
        let task: i32 = String::from_utf8_lossy(&probe.link)
            .split('/')
            .nth(2)?
            .parse()
            .ok()?;
        let is_ours = cx.tree.iter().any(|process| process.pid == task);
        let why = format!("/proc of process {task}, which is not part of the tree");
        (!is_ours).then_some((why, "close it before the dump"))
    }
}
