// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A pidfd, which keeps referring to the same process when its pid is reused. Read from
//! `/proc/PID/fdinfo/N` (`fs/pidfs.c:pidfd_show_fdinfo`).
//!
//! All processes of the tree exist, with their pids, before files are made. This includes zombies, which exit later. A
//! process that was waited for cannot be made again, and threads are made after the files.

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Arg, Call};
use serde::{Deserialize, Serialize};

use super::collect::FileCapture;
use super::fd_plan::FdPlanner;
use super::probe::Probe;
use super::{DescriptionId, File, FileKind, Open};
use crate::file::OfFile;
use crate::kind::Kind;

/// The flag `PIDFD_THREAD`, which `F_GETFL` shows.
const THREAD: i32 = libc::O_EXCL;

/// A pidfd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pidfd {
    /// The flags, owner and locks of the description.
    pub open: Open,
    /// The pid of the process.
    pub pid: i32,
}

impl State for Pidfd {
    const TAG: u16 = 0x0330;
    const NAME: &'static str = "pidfd";
    const SUPPORT: &'static str = "Of processes of the tree, also zombies: pid, flags. Of a process \
        that was waited for, one outside of the tree, or a thread it is refused.";

    fn describe(&self) -> String {
        let thread = if self.open.flags & THREAD != 0 {
            ", as a thread"
        } else {
            ""
        };
        format!("pid {}{thread}", self.pid)
    }
}

impl File for Pidfd {
    fn open(&self) -> &Open {
        &self.open
    }

    fn create(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let number = planner.creator(id)?.number;
        // PIDFD_NONBLOCK and PIDFD_THREAD have the bits of the file flags used here.
        let flags = self.open.flags & (libc::O_NONBLOCK | THREAD);
        let call = Call::new(
            format!("fd {number}: pidfd of {}", self.pid),
            libc::SYS_pidfd_open,
            [Arg::from(self.pid), Arg::from(flags)],
        );
        planner.make_cloexec(id, call)
    }
}

impl Kind for Pidfd {
    type Source = OfFile;
}

impl FileKind for Pidfd {
    fn matches(probe: &Probe) -> bool {
        probe.is_linked("anon_inode:[pidfd]") || probe.link.starts_with(b"pidfd:")
    }

    fn capture<'a>(probe: &Probe<'a>, cx: &mut FileCapture<'a>) -> Result<()> {
        let pid: i32 = probe.demand("Pid", |text| text.parse().ok())?;
        let is_ours = cx.tree.iter().any(|process| process.pid == pid);
        let (why, remedy) = if is_ours {
            let open = probe.open();
            return cx.keep(probe.id, Self { open, pid });
        } else if pid <= 0 {
            (
                "a pidfd of a process that has ended and was waited for".to_owned(),
                "have the program close it before the dump",
            )
        } else if cx.has_thread(pid) {
            (
                format!("a pidfd of thread {pid}, which is not the first of its process"),
                "have the program close it before the dump",
            )
        } else {
            (
                format!(
                    "a pidfd of {}, which is not part of the tree",
                    crust_proc::named(pid)
                ),
                "dump a tree that contains that process, or have the program close it",
            )
        };
        cx.refuse(probe, "pidfd", why, remedy);
        Ok(())
    }
}
