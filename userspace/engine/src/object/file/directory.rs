// SPDX-License-Identifier: Apache-2.0 OR MIT

//! An open directory, by its path.
//!
//! The offset is the file system's own cookie (`telldir`): it is set again as it is, which holds as
//! long as the file system is the same.

use serde::{Deserialize, Serialize};

use super::bench::Bench;
use super::census::Census;
use super::path::Named;
use super::probe::Probe;
use super::{DescriptionId, File, FileKind, Open, refused, regular};
use crate::Result;
use crate::object::State;
use crate::refusal::Refusals;

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Flags.
    pub open: Open,
    /// Which directory.
    pub file: Named,
    /// Where reading it goes on.
    pub pos: u64,
}

impl State for Directory {
    const TAG: u16 = 0x0311;
    const NAME: &'static str = "directory";
    const SUPPORT: &'static str = "Path, position, flags. Deleted directories are refused.";

    fn describe(&self) -> String {
        format!("{} ({})", self.file.path, self.open.describe())
    }
}

impl File for Directory {
    fn open(&self) -> &Open {
        &self.open
    }

    fn create(&self, id: DescriptionId, bench: &mut Bench) -> Result<()> {
        regular::make_by_path(id, bench, &self.file, &self.open, self.pos)
    }

    fn conflicts(&self, refusals: &mut Refusals) {
        self.file.conflicts(refusals);
    }
}

impl FileKind for Directory {
    fn matches(probe: &Probe) -> bool {
        probe.file_type() == libc::S_IFDIR && probe.link.starts_with(b"/")
    }

    fn capture<'a>(probe: &Probe<'a>, census: &mut Census<'a>) -> Result<()> {
        if !probe.is_reachable {
            return refused::refuse_unreachable(probe, census);
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
