// SPDX-License-Identifier: Apache-2.0 OR MIT

//! An eventfd: a counter, read from `/proc/PID/fdinfo/N` (`fs/eventfd.c:eventfd_show_fdinfo`).

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Arg, Call, Data};
use serde::{Deserialize, Serialize};

use super::collect::FileCapture;
use super::fd_plan::FdPlanner;
use super::probe::Probe;
use super::{DescriptionId, File, FileKind, Open};
use crate::file::OfFile;
use crate::kind::Kind;

/// An eventfd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eventfd {
    /// The flags, owner and locks of the description.
    pub open: Open,
    /// The value of the counter.
    pub count: u64,
    /// Whether `EFD_SEMAPHORE` is set: a read takes one, not all.
    pub is_semaphore: bool,
}

impl State for Eventfd {
    const TAG: u16 = 0x0314;
    const NAME: &'static str = "eventfd";
    const SUPPORT: &'static str = "Count, semaphore mode, flags.";

    fn describe(&self) -> String {
        let mode = if self.is_semaphore { ", semaphore" } else { "" };
        format!("count {}{mode}", self.count)
    }
}

impl File for Eventfd {
    fn open(&self) -> &Open {
        &self.open
    }

    fn create(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let number = planner.creator(id)?.number;
        // eventfd2 takes 32 bits; a larger count is set by a write.
        let initial = u32::try_from(self.count).unwrap_or(0);
        planner.make(id, |cloexec| {
            let mut flags = self.open.flags & libc::O_NONBLOCK;
            if cloexec {
                flags |= libc::EFD_CLOEXEC;
            }
            if self.is_semaphore {
                flags |= libc::EFD_SEMAPHORE;
            }
            let args = [Arg::from(u64::from(initial)), Arg::from(flags)];
            let what = format!("fd {number}: eventfd, count {initial}");
            Call::new(what, libc::SYS_eventfd2, args)
        })?;
        if u64::from(initial) != self.count {
            let count = Data::words(&[self.count]);
            let write = Call::new(
                format!("fd {number}: count {}", self.count),
                libc::SYS_write,
                [Arg::from(number), Arg::from(count), Arg::from(8)],
            );
            planner.call(write.must_return(8));
        }
        Ok(())
    }
}

impl Kind for Eventfd {
    type Source = OfFile;
}

impl FileKind for Eventfd {
    fn matches(probe: &Probe) -> bool {
        probe.is_linked("anon_inode:[eventfd]")
    }

    fn capture<'a>(probe: &Probe<'a>, cx: &mut FileCapture<'a>) -> Result<()> {
        let count = probe.demand("eventfd-count", |text| u64::from_str_radix(text, 16).ok())?;
        // Kernels before 6.4 do not show this field.
        let is_semaphore = match probe.field("eventfd-semaphore") {
            Some(text) => text == "1",
            None => {
                cx.lose(
                    probe,
                    "eventfd-semaphore",
                    "this kernel does not tell whether the eventfd is a semaphore: it becomes none",
                    "use Linux 6.4 or newer, which tells",
                );
                false
            }
        };
        cx.keep(
            probe.id,
            Eventfd {
                open: probe.open(),
                count,
                is_semaphore,
            },
        )
    }
}
