// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The terminal of a shell job.
//!
//! The other end of it (the terminal emulator, `sshd`, `tmux`) is not part of the job. With
//! `--shell-job` the job gets the terminal of the shell that restores it, with the settings
//! (`termios`) that the job had made; without that option, the user has to decide. A terminal whose
//! other end is in the tree too is another matter, and a kind of its own (`pty`).

use std::os::fd::AsFd;

use crust_model::Result;
use crust_model::image::Image;
use crust_model::object::State;
use crust_model::plan::{Arg, Call, Data, reserved};
use nix::sys::termios::{self, Termios};
use serde::{Deserialize, Serialize};

use super::collect::FileCapture;
use super::fd_plan::FdPlanner;
use super::probe::Probe;
use super::{DescriptionId, File, FileKind, Open};
use crate::file::OfFile;
use crate::kind::Kind;

/// The terminal of a shell job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// The flags, owner and locks of the description.
    pub open: Open,
    /// The settings: the kernel's `struct termios`.
    pub settings: Vec<u8>,
    /// The process group that was in the foreground; 0 if it was not the terminal of the session.
    pub foreground: i32,
}

impl Terminal {
    /// Returns the process group that was in the foreground of the terminal, if there was one.
    #[must_use]
    pub fn foreground(image: &Image) -> Option<i32> {
        let (_, terminal) = image.all::<Self>().next()?;
        Some(terminal.foreground).filter(|&group| group != 0)
    }
}

impl State for Terminal {
    const TAG: u16 = 0x0317;
    const VERSION: u16 = 2;
    const NAME: &'static str = "terminal of a shell job";
    const SUPPORT: &'static str = "With --shell-job: replaced by the terminal of the restoring \
        shell; settings (termios) and the process group in the foreground are carried over.";

    fn describe(&self) -> String {
        format!("the shell's ({})", self.open.describe())
    }
}

impl File for Terminal {
    fn open(&self) -> &Open {
        &self.open
    }

    fn create(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let number = planner.creator(id)?.number;
        let (proc, terminal) = (
            planner.reserved(reserved::PROC),
            planner.reserved(reserved::TERMINAL),
        );
        // Open it again rather than duplicate it: flags of the job's description are not the
        // shell's.
        let flags = self.open.flags & !libc::O_ASYNC | libc::O_NOCTTY;
        planner.make(id, |cloexec| {
            let cloexec = if cloexec { libc::O_CLOEXEC } else { 0 };
            Call::new(
                format!("fd {number}: the terminal of the shell"),
                libc::SYS_openat,
                [
                    Arg::from(proc),
                    Arg::from(Data::string(format!("self/fd/{terminal}"))),
                    Arg::from(flags | cloexec),
                    Arg::from(0),
                ],
            )
        })
    }

    fn connect(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let number = planner.creator(id)?.number;
        planner.call(Call::new(
            format!("fd {number}: settings of the terminal"),
            libc::SYS_ioctl,
            [
                Arg::from(number),
                Arg::from(libc::TCSETS),
                Arg::from(Data::new(self.settings.clone())),
            ],
        ));
        Ok(())
    }
}

impl Kind for Terminal {
    type Source = OfFile;
}

impl FileKind for Terminal {
    fn matches(probe: &Probe) -> bool {
        probe.file_type() == libc::S_IFCHR && is_terminal(probe.identity.rdev)
    }

    fn capture<'a>(probe: &Probe<'a>, cx: &mut FileCapture<'a>) -> Result<()> {
        if !cx.options.shell_job {
            cx.refusals.decide(
                probe.holder.pid,
                "terminal-outside",
                probe.object.as_str(),
                format!(
                    "a terminal whose other end is outside of the tree ({})",
                    String::from_utf8_lossy(&probe.link)
                ),
                "add --shell-job to give it the terminal of the shell that restores it, or start the \
                 program without a terminal (its output in a file)",
            );
            return Ok(());
        }
        let other = cx.probes.iter().find(|other| {
            let is_earlier = Self::matches(other) && other.id < probe.id;
            is_earlier
                && identity(probe)
                    .zip(identity(other))
                    .is_some_and(|(a, b)| a != b)
        });
        if let Some(other) = other.cloned() {
            let why = format!(
                "a second terminal ({}) beside {}: the shell of the restore has only one",
                String::from_utf8_lossy(&probe.link),
                String::from_utf8_lossy(&other.link)
            );
            cx.refuse(
                probe,
                "terminals",
                why,
                "have the program close one of them before the dump",
            );
            return Ok(());
        }
        let terminal = probe.take()?;
        let settings = termios::tcgetattr(terminal.as_fd())
            .map_err(|errno| probe.failed("read the settings of the terminal", errno))?;
        let holder = &probe.holder;
        let stat = crust_proc::stat(holder.proc, holder.pid, "stat")?;
        cx.keep(
            probe.id,
            Self {
                open: probe.open_with_owner(&terminal)?,
                settings: kernel_termios(&settings),
                foreground: stat.int(8).max(0),
            },
        )
    }
}

/// Identifies the terminal; `None` for `/dev/tty`, which is whichever terminal the session has.
fn identity(probe: &Probe) -> Option<u64> {
    let rdev = probe.identity.rdev;
    (rdev != libc::makedev(5, 0)).then_some(rdev)
}

/// Returns whether a device is a virtual console or serial line, `/dev/tty` or `/dev/console`, or a
/// Unix98 slave; `/dev/ptmx`, which is 5:2, is not.
fn is_terminal(rdev: u64) -> bool {
    match (libc::major(rdev), libc::minor(rdev)) {
        (4 | 136..=143, _) => true,
        (5, minor) => minor < 2,
        _ => false,
    }
}

/// Encodes the kernel's `struct termios`, which has 19 control characters; that of libc has 32.
fn kernel_termios(settings: &Termios) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(36);
    for flags in [
        settings.input_flags.bits(),
        settings.output_flags.bits(),
        settings.control_flags.bits(),
        settings.local_flags.bits(),
    ] {
        bytes.extend(flags.to_ne_bytes());
    }
    bytes.push(settings.line_discipline);
    bytes.extend(&settings.control_chars[..19]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_by_number() {
        for (major, minor, is) in [(136, 7, true), (5, 0, true), (5, 2, false), (1, 3, false)] {
            assert_eq!(
                is_terminal(libc::makedev(major, minor)),
                is,
                "{major}:{minor}"
            );
        }
    }
}
