// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A pseudo-terminal whose [controlling side](super::Master) is in the tree too.

use std::os::fd::AsFd;
use std::rc::Rc;

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Arg, Call};
use crust_model::refusal::USE_THE_MODULE;
use crust_sys::tty;
use nix::errno::Errno;
use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};

use super::Master;
use crate::file::collect::FileCapture;
use crate::file::fd_plan::FdPlanner;
use crate::file::probe::Probe;
use crate::file::terminal::Terminal;
use crate::file::{DescriptionId, File, FileKind, OfFile, Open, by_path};
use crate::kind::Kind;
use crate::path::FilePath;

/// A terminal whose controlling side is in the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slave {
    /// The flags, owner and locks of the description.
    pub open: Open,
    /// The path by which it was opened: its own, or `/dev/tty`.
    pub path: FilePath,
    /// Whether it is in exclusive mode (`TIOCEXCL`).
    pub is_exclusive: bool,
}

impl State for Slave {
    const TAG: u16 = 0x0333;
    const NAME: &'static str = "pseudo-terminal";
    const SUPPORT: &'static str =
        "If its controlling side is in the tree; else it is the terminal of a shell job.";

    fn describe(&self) -> String {
        format!("{} ({})", self.path, self.open.describe())
    }
}

impl File for Slave {
    fn open(&self) -> &Open {
        &self.open
    }

    fn create(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        by_path::make(&self.open, &self.path, id, planner)
    }

    fn finish(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        if self.is_exclusive {
            let number = planner.creator(id)?.number;
            let args = [number.into(), Arg::from(libc::TIOCEXCL), 0.into()];
            let what = format!("fd {number}: nobody else may open it");
            planner.call(Call::new(what, libc::SYS_ioctl, args));
        }
        Ok(())
    }
}

impl Kind for Slave {
    type Source = OfFile;
}

impl FileKind for Slave {
    fn matches(probe: &Probe) -> bool {
        let rdev = probe.identity.rdev;
        probe.file_type() == libc::S_IFCHR && (is_pseudo(rdev) || rdev == libc::makedev(5, 0))
    }

    fn capture<'a>(probe: &Probe<'a>, cx: &mut FileCapture<'a>) -> Result<()> {
        let masters: Vec<_> = cx
            .probes
            .iter()
            .filter(|probe| Master::matches(probe))
            .cloned()
            .collect();
        let Some(master) = master_of(probe, &masters)? else {
            return Terminal::capture(probe, cx);
        };
        let terminal = probe.take()?;
        let terminal = terminal.as_fd();
        let (_, waiting) = tty::waiting(terminal)
            .map_err(|errno| probe.failed("ask what waits in the terminal", errno))?;
        if waiting > 0 {
            cx.refuse(
                probe,
                "pty-input",
                format!(
                    "a terminal with input that no program has read yet ({})",
                    master.object
                ),
                "dump it again in a moment, when a program has read it",
            );
        }
        let by_session = probe.identity.rdev == libc::makedev(5, 0);
        if by_session && !cx.hooks.features().set_ids {
            cx.refuse(
                probe,
                "dev-tty",
                "the terminal of its session, opened as /dev/tty: on this kernel a restore puts processes into a session \
                 before it has a terminal",
                USE_THE_MODULE,
            );
        }
        let is_exclusive = tty::is_exclusive(terminal)
            .map_err(|errno| probe.failed("ask who may open the terminal", errno))?;
        let state = Self {
            open: probe.open_with_owner(terminal)?,
            path: FilePath(probe.link.clone()),
            is_exclusive,
        };
        cx.keep(probe.id, state)
    }
}

/// Returns whether a device number is one of devpts (`Documentation/admin-guide/devices.txt`).
fn is_pseudo(rdev: u64) -> bool {
    (136..=143).contains(&libc::major(rdev))
}

/// Returns the controlling side of a terminal, if it is in the tree.
fn master_of<'a>(probe: &Probe<'a>, masters: &[Rc<Probe<'a>>]) -> Result<Option<Rc<Probe<'a>>>> {
    if masters.is_empty() {
        return Ok(None);
    }
    let mut rdev = probe.identity.rdev;
    let by_session = !is_pseudo(rdev);
    if by_session {
        let terminal = probe.take()?;
        let device = tty::device(terminal.as_fd())
            .map_err(|errno| probe.failed("ask which terminal it is", errno))?;
        // Decode what user space is told since there are more than 256
        // (linux/kdev_t.h:new_encode_dev).
        rdev = libc::makedev(device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    }
    let index = (libc::major(rdev) - 136) << 20 | libc::minor(rdev);
    for master in masters {
        if Master::index(master) != Some(index) {
            continue;
        }
        // Another mount of devpts may have a terminal of that number too.
        let controlling = master.take()?;
        let is_it = match tty::peer(controlling.as_fd()) {
            Ok(peer) => {
                let peer =
                    fstat(&peer).map_err(|errno| master.failed("look at its terminal", errno))?;
                (peer.st_dev, peer.st_ino) == (probe.identity.dev, probe.identity.ino)
            }
            // The terminal is locked.
            Err(Errno::EIO) => true,
            Err(errno) => return Err(master.failed("open its terminal", errno)),
        };
        if by_session || is_it {
            return Ok(Some(master.clone()));
        }
    }
    Ok(None)
}
