// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Files that are restored by opening their path: the common part of regular files, directories,
//! files of `/proc` and stateless devices.

use std::marker::PhantomData;

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Arg, Call};
use crust_model::refusal::Refusals;
use serde::{Deserialize, Serialize};

use super::collect::FileCapture;
use super::fd_plan::FdPlanner;
use super::probe::Probe;
use super::{DescriptionId, File, FileKind, Open, refused};
use crate::file::OfFile;
use crate::kind::Kind;
use crate::path::{FilePath, Named};

/// The properties that distinguish one kind of file opened by its path from another.
pub trait PathKind: 'static {
    /// The value of [`State::TAG`].
    const TAG: u16;
    /// The value of [`State::VERSION`].
    const VERSION: u16 = 1;
    /// The value of [`State::NAME`].
    const NAME: &'static str;
    /// The value of [`State::SUPPORT`].
    const SUPPORT: &'static str;
    /// Whether the file at the path must still be the one that was dumped.
    const MUST_BE_THE_SAME: bool = true;

    /// Returns whether an open file description is of this kind.
    fn matches(probe: &Probe) -> bool;

    /// Returns why a file that can be reached by its path is nevertheless not carried over, and the
    /// remedy.
    fn objection(_probe: &Probe, _census: &FileCapture) -> Option<(String, &'static str)> {
        None
    }
}

/// A file of kind `K`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct ByPath<K> {
    /// The flags, owner and locks of the description.
    pub open: Open,
    /// The path and identity of the file.
    pub file: Named,
    /// The file offset, in bytes; for a directory, the cookie of the file system.
    pub pos: u64,
    #[serde(skip)]
    kind: PhantomData<K>,
}

impl<K: PathKind> State for ByPath<K> {
    const TAG: u16 = K::TAG;
    const VERSION: u16 = K::VERSION;
    const NAME: &'static str = K::NAME;
    const SUPPORT: &'static str = K::SUPPORT;

    fn describe(&self) -> String {
        let text = format!("{} ({})", self.file.path, self.open.describe());
        match self.pos {
            0 => text,
            pos => format!("{text} at {pos}"),
        }
    }
}

/// Makes an open file description by opening a path.
pub(super) fn make(
    open: &Open,
    path: &FilePath,
    id: DescriptionId,
    planner: &mut FdPlanner,
) -> Result<()> {
    let number = planner.creator(id)?.number;
    // Whatever is at the path by then must not become the controlling terminal.
    let flags = open.flags & !libc::O_ASYNC | libc::O_NOCTTY;
    planner.make(id, |cloexec| {
        let cloexec = if cloexec { libc::O_CLOEXEC } else { 0 };
        Call::new(
            format!("fd {number}: open {path}"),
            libc::SYS_openat,
            [
                Arg::from(libc::AT_FDCWD),
                Arg::from(path.data()),
                Arg::from(flags | cloexec),
                Arg::from(0),
            ],
        )
    })
}

impl<K: PathKind> File for ByPath<K> {
    fn open(&self) -> &Open {
        &self.open
    }

    fn create(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let number = planner.creator(id)?.number;
        make(&self.open, &self.file.path, id, planner)?;
        if self.pos != 0 {
            let seek = Call::new(
                format!("fd {number}: go to {}", self.pos),
                libc::SYS_lseek,
                [
                    Arg::from(number),
                    Arg::from(self.pos),
                    Arg::from(libc::SEEK_SET),
                ],
            );
            planner.call(seek.must_return(self.pos));
        }
        Ok(())
    }

    fn check(&self, refusals: &mut Refusals) {
        if K::MUST_BE_THE_SAME {
            self.file.conflicts(refusals);
        }
    }
}

impl<K: PathKind> Kind for ByPath<K> {
    type Source = OfFile;
}

impl<K: PathKind> FileKind for ByPath<K> {
    fn matches(probe: &Probe) -> bool {
        K::matches(probe)
    }

    fn capture<'a>(probe: &Probe<'a>, cx: &mut FileCapture<'a>) -> Result<()> {
        if !probe.is_reachable {
            return refused::refuse_unreachable(probe, cx);
        }
        if let Some((why, remedy)) = K::objection(probe, cx) {
            cx.refuse(probe, "file", why, remedy);
            return Ok(());
        }
        cx.keep(
            probe.id,
            Self {
                open: probe.open(),
                file: Named::new(&probe.link, &probe.identity),
                pos: probe.pos,
                kind: PhantomData,
            },
        )
    }
}
