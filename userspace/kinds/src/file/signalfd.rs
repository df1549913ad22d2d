// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A signalfd: a set of signals. What can be read from it are the pending signals of the reader,
//! which belong to the reader's process. Read from `fdinfo` (`fs/signalfd.c:signalfd_show_fdinfo`).

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

/// A signalfd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signalfd {
    /// The flags, owner and locks of the description.
    pub open: Open,
    /// The set of signals: bit `n - 1` for signal `n`.
    pub mask: u64,
}

impl State for Signalfd {
    const TAG: u16 = 0x0315;
    const NAME: &'static str = "signalfd";
    const SUPPORT: &'static str = "Signal set, flags.";

    fn describe(&self) -> String {
        format!("signals {:#x}", self.mask)
    }
}

impl File for Signalfd {
    fn open(&self) -> &Open {
        &self.open
    }

    fn create(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let number = planner.creator(id)?.number;
        planner.make(id, |cloexec| {
            let cloexec = if cloexec { libc::SFD_CLOEXEC } else { 0 };
            Call::new(
                format!("fd {number}: signalfd of {:#x}", self.mask),
                libc::SYS_signalfd4,
                [
                    Arg::from(-1),
                    Arg::from(Data::words(&[self.mask])),
                    Arg::from(8),
                    Arg::from(self.open.flags & libc::O_NONBLOCK | cloexec),
                ],
            )
        })
    }
}

impl Kind for Signalfd {
    type Source = OfFile;
}

impl FileKind for Signalfd {
    fn matches(probe: &Probe) -> bool {
        probe.is_linked("anon_inode:[signalfd]")
    }

    fn capture<'a>(probe: &Probe<'a>, cx: &mut FileCapture<'a>) -> Result<()> {
        let mask = probe.demand("sigmask", |text| u64::from_str_radix(text, 16).ok())?;
        let open = probe.open();
        cx.keep(probe.id, Signalfd { open, mask })
    }
}
