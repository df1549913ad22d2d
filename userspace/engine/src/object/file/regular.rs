// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A regular file, opened again by its path; and whatever was opened with `O_PATH`.
//!
//! Its contents stay where they are: they are not part of the image. A restore checks that the
//! path still leads to the same inode, and that the file is not shorter; it may have grown, as a
//! log does that others write to as well.

use serde::{Deserialize, Serialize};

use super::bench::Bench;
use super::census::Census;
use super::path::Named;
use super::probe::Probe;
use super::{DescriptionId, File, FileKind, Open, refused};
use crate::Result;
use crate::object::State;
use crate::plan::{Arg, Call};
use crate::refusal::Refusals;

/// A file that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regular {
    /// Flags.
    pub open: Open,
    /// Which file.
    pub file: Named,
    /// The offset.
    pub pos: u64,
}

impl State for Regular {
    const TAG: u16 = 0x0310;
    const NAME: &'static str = "regular file";
    const SUPPORT: &'static str = "Path, offset, flags, locks; any file opened with O_PATH. The \
        contents are not in the image. Deleted files are refused.";

    fn describe(&self) -> String {
        format!(
            "{} ({}) at {}",
            self.file.path,
            self.open.describe(),
            self.pos
        )
    }
}

impl File for Regular {
    fn open(&self) -> &Open {
        &self.open
    }

    fn create(&self, id: DescriptionId, bench: &mut Bench) -> Result<()> {
        make_by_path(id, bench, &self.file, &self.open, self.pos)
    }

    fn conflicts(&self, refusals: &mut Refusals) {
        self.file.conflicts(refusals);
    }
}

impl FileKind for Regular {
    fn matches(probe: &Probe) -> bool {
        let is_by_path_only = probe.flags & libc::O_PATH != 0;
        probe.link.starts_with(b"/")
            && match probe.file_type() {
                libc::S_IFREG => !probe.link.starts_with(b"/memfd:"),
                libc::S_IFDIR => false,
                _ => is_by_path_only,
            }
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

/// Emits `open` of a path with the flags of a description, and `lseek`.
pub(super) fn make_by_path(
    id: DescriptionId,
    bench: &mut Bench,
    file: &Named,
    open: &Open,
    pos: u64,
) -> Result<()> {
    let number = bench.home(id)?.number;
    let flags = open.flags & !libc::O_ASYNC | libc::O_NOCTTY;
    bench.make(id, |cloexec| {
        let cloexec = if cloexec { libc::O_CLOEXEC } else { 0 };
        Call::new(
            format!("fd {number}: open {}", file.path),
            libc::SYS_openat,
            [
                Arg::from(libc::AT_FDCWD),
                Arg::from(file.path.data()),
                Arg::from(flags | cloexec),
                Arg::from(0),
            ],
        )
    })?;
    if pos != 0 {
        let seek = Call::new(
            format!("fd {number}: go to {pos}"),
            libc::SYS_lseek,
            [Arg::from(number), Arg::from(pos), Arg::from(libc::SEEK_SET)],
        );
        bench.call(seek.returns(pos));
    }
    Ok(())
}
