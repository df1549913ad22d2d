// SPDX-License-Identifier: Apache-2.0 OR MIT

//! An open file description of a file that no path leads to: a memfd, or a deleted file.
//!
//! The file itself is captured once, whichever processes have it ([`pathless`](crate::pathless)). This module covers
//! one description of it. There can be several, since a process that has a descriptor may open the file again through
//! the link in `/proc/PID/fd`. A restore does just that, in the process that makes the file.

use std::collections::BTreeMap;
use std::rc::Rc;

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Arg, Call, reserved};
use serde::{Deserialize, Serialize};

use super::collect::FileCapture;
use super::fd_plan::FdPlanner;
use super::probe::Probe;
use super::{DescriptionId, File, FileKind, Open, refused};
use crate::file::OfFile;
use crate::kind::Kind;
use crate::pathless::PathlessFiles;
use crate::pathless::capture::Place;

/// An open file description of a file without a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathlessFile {
    /// The flags, owner and locks of the description.
    pub open: Open,
    /// The number of the file among those without a path.
    pub file: u32,
    /// The pid of the process that makes the file.
    pub maker: i32,
    /// The offset, in bytes.
    pub pos: u64,
    /// Whether this is the description by which the file is made.
    pub is_first: bool,
}

impl State for PathlessFile {
    const TAG: u16 = 0x031b;
    const NAME: &'static str = "file without a path";
    const SUPPORT: &'static str = "A memfd, or a deleted file: offset, flags, locks; which \
        descriptors share them. The file itself is listed under memory.";

    fn describe(&self) -> String {
        let text = format!(
            "file {} without a path ({})",
            self.file,
            self.open.describe()
        );
        match self.pos {
            0 => text,
            pos => format!("{text} at {pos}"),
        }
    }
}

impl File for PathlessFile {
    fn open(&self) -> &Open {
        &self.open
    }

    fn maker(&self) -> Option<i32> {
        Some(self.maker)
    }

    fn create(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let number = planner.creator(id)?.number;
        let proc = planner.reserved(reserved::PROC);
        let process = planner.process();
        let holding_fds = planner.holding_fds();
        let holding_fd = holding_fds.get(self.file)?;
        let flags = self.open.flags;
        planner.make(id, |cloexec| {
            if self.is_first {
                let command = if cloexec {
                    libc::F_DUPFD_CLOEXEC
                } else {
                    libc::F_DUPFD
                };
                Call::new(
                    format!("fd {number}: {}", holding_fd.file.title()),
                    libc::SYS_fcntl,
                    [
                        Arg::from(holding_fd.number),
                        Arg::from(command),
                        Arg::from(0),
                    ],
                )
            } else {
                let cloexec = if cloexec { libc::O_CLOEXEC } else { 0 };
                let mut call = holding_fd.open(process, proc, flags | cloexec);
                call.label = format!("fd {number}: {}", call.label);
                call
            }
        })?;
        if self.is_first {
            planner.set_flags(number, flags);
        }
        if self.pos != 0 {
            let args = [
                Arg::from(number),
                Arg::from(self.pos),
                Arg::from(libc::SEEK_SET),
            ];
            let what = format!("fd {number}: go to {}", self.pos);
            planner.call(Call::new(what, libc::SYS_lseek, args).must_return(self.pos));
        }
        Ok(())
    }
}

/// The descriptions of each file without a path, collected during the capture.
pub type PathlessDescriptions = BTreeMap<u32, Vec<DescriptionId>>;

impl Kind for PathlessFile {
    type Source = OfFile;
}

impl FileKind for PathlessFile {
    fn matches(probe: &Probe) -> bool {
        probe.file_type() == libc::S_IFREG
            && probe.identity.links == 0
            && !probe.is_reachable
            && probe.link.starts_with(b"/")
            && !refused::is_known(&probe.link)
    }

    fn capture<'a>(probe: &Probe<'a>, cx: &mut FileCapture<'a>) -> Result<()> {
        let place = Place {
            process: probe.holder.process,
            pid: probe.holder.pid,
            proc: probe.holder.proc,
            link: &format!("fd/{}", probe.number),
        };
        let identity = (probe.identity.dev, probe.identity.ino);
        match cx
            .notes
            .of::<PathlessFiles>()
            .note(cx.kinds, &place, identity, cx.options)?
        {
            Ok(file) => {
                let of_file = cx.of_pathless.entry(file).or_default();
                of_file.push(probe.id);
                let is_path_only = probe.flags & libc::O_PATH != 0;
                if !is_path_only && probe.flags & libc::O_ACCMODE != libc::O_RDONLY {
                    cx.notes.of::<PathlessFiles>().is_written(file);
                }
            }
            Err(unreachable) => {
                cx.refuse(probe, unreachable.code, unreachable.why, unreachable.remedy)
            }
        }
        Ok(())
    }

    fn resolve_refs(cx: &mut FileCapture) -> Result<()> {
        for (file, descriptions) in std::mem::take(&mut cx.of_pathless) {
            let maker = cx.tree[cx.notes.of::<PathlessFiles>().maker(file).0 as usize].pid;
            let mut makes = cx.notes.of::<PathlessFiles>().is_open_when_made(file);
            for id in descriptions {
                let probe = Rc::clone(&cx.probes[id.0 as usize]);
                let access = probe.flags & (libc::O_ACCMODE | libc::O_PATH);
                let is_first = makes && access == libc::O_RDWR;
                makes &= !is_first;
                let state = Self {
                    open: probe.open(),
                    file,
                    maker,
                    pos: probe.pos,
                    is_first,
                };
                cx.keep(id, state)?;
            }
        }
        Ok(())
    }
}
