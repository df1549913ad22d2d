// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A file or directory of `/proc`, opened again by its path.
//!
//! Its inode number means nothing, as `/proc` makes inodes when they are looked up. What was read of
//! it so far was a snapshot: reading goes on at the same offset of a new one, as it would for
//! a program that seeks.

use serde::{Deserialize, Serialize};

use super::bench::Bench;
use super::census::Census;
use super::path::Named;
use super::probe::Probe;
use super::{DescriptionId, File, FileKind, Open, refused, regular};
use crate::Result;
use crate::object::State;

/// A file of `/proc`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcFile {
    /// Flags.
    pub open: Open,
    /// Which file.
    pub file: Named,
    /// The offset.
    pub pos: u64,
}

impl State for ProcFile {
    const TAG: u16 = 0x0312;
    const NAME: &'static str = "file of /proc";
    const SUPPORT: &'static str = "Path, offset, flags; of the tree's own processes and of the \
        system. What it says is what is true after the restore.";

    fn describe(&self) -> String {
        format!(
            "{} ({}) at {}",
            self.file.path,
            self.open.describe(),
            self.pos
        )
    }
}

impl File for ProcFile {
    fn open(&self) -> &Open {
        &self.open
    }

    fn create(&self, id: DescriptionId, bench: &mut Bench) -> Result<()> {
        regular::make_by_path(id, bench, &self.file, &self.open, self.pos)
    }
}

impl FileKind for ProcFile {
    fn matches(probe: &Probe) -> bool {
        let is_within = probe.link == b"/proc" || probe.link.starts_with(b"/proc/");
        is_within && matches!(probe.file_type(), libc::S_IFREG | libc::S_IFDIR)
    }

    fn capture<'a>(probe: &Probe<'a>, census: &mut Census<'a>) -> Result<()> {
        if !probe.is_reachable {
            return refused::refuse_unreachable(probe, census);
        }
        // Files of a process or thread live as long as it does.
        let task = String::from_utf8_lossy(&probe.link)
            .split('/')
            .nth(2)
            .and_then(|name| name.parse::<i32>().ok());
        let stranger = task.filter(|&task| !census.tree.iter().any(|it| it.pid == task));
        if let Some(task) = stranger {
            census.refuse(
                probe,
                format!("/proc of process {task}, which is not part of the tree"),
                "close it before the dump",
            );
            return Ok(());
        }
        census.keep(
            probe.id,
            &Self {
                open: probe.open(),
                file: Named::new(&probe.link, &probe.identity),
                pos: probe.pos,
            },
        )
    }
}
