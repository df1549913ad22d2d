// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Pseudo-terminals with both ends in the tree: `script`, `tmux`, `expect`, `sshd`. This module covers the controlling
//! side (the master); the terminals are [`slave`]s.
//!
//! A pair has a number, by which its terminal is found in `/dev/pts`, so it must get the same one again: pairs are made
//! until it comes up. This happens before processes join sessions, since a process that joins one gets its terminal.
//!
//! Data that waits to be read cannot be read without consuming it, so there must be none. The kernel does not show a
//! line that is still being typed.

pub mod make;
pub mod slave;
mod user;

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Arg, Call, Data, Stage};
use crust_model::refusal::{Refusals, USE_THE_MODULE};
use crust_sys::tty;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::stat::stat;
use serde::{Deserialize, Serialize};

use super::collect::FileCapture;
use super::fd_plan::FdPlanner;
use super::probe::Probe;
use super::{DescriptionId, File, FileKind, Open};
use crate::file::OfFile;
use crate::kind::Kind;
use crate::path::FilePath;
use crate::plan_context::PlanCx;
use crate::task::tree;

/// The offset of the line discipline in the settings (`struct termios2`).
const LINE_DISCIPLINE: usize = 16;
/// The flags with which a pair can be made.
const FLAGS: i32 = libc::O_ACCMODE | libc::O_NONBLOCK;

/// The controlling side of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Master {
    /// The flags, owner and locks of the description.
    pub open: Open,
    /// The number of the pair.
    pub index: u32,
    /// The path of the terminal.
    pub terminal: FilePath,
    /// The `struct termios2` of the terminal.
    pub settings: Vec<u8>,
    /// The `struct winsize` of the terminal.
    pub size: Vec<u8>,
    /// The owner of the terminal: user and group id.
    pub owner: (u32, u32),
    /// The permissions of the terminal.
    pub mode: u32,
    /// Whether packet mode is on (`TIOCPKT`).
    pub has_packets: bool,
    /// Whether the terminal is locked (`TIOCSPTLCK`).
    pub is_locked: bool,
    /// Whether the terminal was open, and no longer is.
    pub is_hung_up: bool,
    /// The session that has it as its controlling terminal; 0 for none.
    pub session: i32,
    /// The foreground process group; 0 if it is gone.
    pub foreground: i32,
}

impl State for Master {
    const TAG: u16 = 0x0332;
    const NAME: &'static str = "controlling side of a pseudo-terminal";
    const SUPPORT: &'static str = "If the terminal is not used outside of the tree: number, owner, permissions, settings, size, packet mode, lock, \
        the session and the group in the foreground. Nothing may wait to be read; a line that is being typed is lost.";

    fn describe(&self) -> String {
        let session = match self.session {
            0 => String::new(),
            session => format!(", of session {session}"),
        };
        format!("of {} ({}){session}", self.terminal, self.open.describe())
    }
}

impl Master {
    /// Returns the number of the pair, if a descriptor is its controlling side.
    fn index(probe: &Probe) -> Option<u32> {
        let is_master =
            probe.file_type() == libc::S_IFCHR && probe.identity.rdev == libc::makedev(5, 2);
        is_master.then(|| probe.number_field("tty-index")).flatten()
    }

    /// Returns the name of an operation in the plan.
    fn what(&self, operation: &str) -> String {
        format!("terminal {}: {operation}", self.terminal)
    }

    fn ioctl(
        &self,
        operation: &str,
        number: impl Into<Arg>,
        request: libc::Ioctl,
        argument: impl Into<Arg>,
    ) -> Call {
        let args = [number.into(), request.into(), argument.into()];
        Call::new(self.what(operation), libc::SYS_ioctl, args)
    }

    /// Opens the terminal without making it anybody's controlling terminal.
    fn open_terminal(&self) -> Call {
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        let args = [
            libc::AT_FDCWD.into(),
            self.terminal.data().into(),
            flags.into(),
        ];
        Call::new(self.what("open"), libc::SYS_openat, args)
    }
}

fn word(value: i32) -> Data {
    Data::new(value.to_ne_bytes())
}

impl File for Master {
    fn open(&self) -> &Open {
        &self.open
    }

    fn create(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let number = planner.temporary_fd();
        let pair = make::MakePair {
            index: self.index,
            number,
            flags: self.open.flags & FLAGS,
        };
        planner.operate_later(Stage::Leaders, pair);
        let (uid, gid) = self.owner;
        let path = || [libc::AT_FDCWD.into(), self.terminal.data().into()];
        let owner = [uid, gid].map(|id| Arg::from(u64::from(id)));
        let mode = [u64::from(self.mode).into()];
        let settings = Data::new(self.settings.clone());
        let size = Data::new(self.size.clone());
        for call in [
            Call::new(
                self.what("set its owner"),
                libc::SYS_fchownat,
                path()
                    .into_iter()
                    .chain(owner)
                    .chain([0.into()])
                    .collect::<Vec<_>>(),
            ),
            Call::new(
                self.what("set its permissions"),
                libc::SYS_fchmodat,
                path().into_iter().chain(mode).collect::<Vec<_>>(),
            ),
            self.ioctl("set its settings", number, libc::TCSETS2, settings),
            // Set the size while there is no foreground group, which would be signalled.
            self.ioctl("set its size", number, libc::TIOCSWINSZ, size),
        ] {
            planner.call_later(Stage::Leaders, call);
        }
        if self.session != 0 {
            let leader = planner.of_pid(self.session)?;
            let number = planner.limbo_of(leader);
            planner.set_other_end(id, number);
            let opened = planner.call_of(leader, Stage::Terminals, self.open_terminal());
            let args = [opened.into(), number.into(), libc::O_CLOEXEC.into()];
            let keep = Call::new(self.what("keep it open"), libc::SYS_dup3, args);
            planner.call_of(leader, Stage::Terminals, keep);
            let close = Call::new(
                self.what("close where it was"),
                libc::SYS_close,
                [opened.into()],
            );
            planner.call_of(leader, Stage::Terminals, close);
            let control = self.ioctl("make it that of the session", number, libc::TIOCSCTTY, 0);
            planner.call_of(leader, Stage::Terminals, control);
        }
        let creator = planner.creator(id)?.number;
        planner.make(id, |cloexec| {
            let command = if cloexec {
                libc::F_DUPFD_CLOEXEC
            } else {
                libc::F_DUPFD
            };
            let args = [number.into(), command.into(), 0.into()];
            let what = format!("fd {creator}: the controlling side of {}", self.terminal);
            Call::new(what, libc::SYS_fcntl, args)
        })
    }

    fn finish(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let number = planner.creator(id)?.number;
        if self.session != 0 && self.foreground != 0 {
            let leader = planner.of_pid(self.session)?;
            let request = libc::TIOCSPGRP;
            let what = "set the group in its foreground";
            let call = self.ioctl(what, planner.other_end(id)?, request, word(self.foreground));
            planner.call_of(leader, Stage::ConnectFiles, call);
        }
        if self.is_hung_up {
            let opened = planner.call(self.open_terminal());
            let close = Call::new(self.what("hang up"), libc::SYS_close, [opened.into()]);
            planner.call(close);
        }
        if self.is_locked {
            planner.call(self.ioctl("lock", number, libc::TIOCSPTLCK, word(1)));
        }
        if self.has_packets {
            planner.call(self.ioctl("read packets", number, libc::TIOCPKT, word(1)));
        }
        Ok(())
    }

    fn check(&self, refusals: &mut Refusals) {
        // The kernel frees the number of a terminal some time after it was closed.
        const PATIENCE: Duration = Duration::from_millis(500);
        let path = self.terminal.to_string();
        let begun = Instant::now();
        while Path::new(&path).exists() {
            if begun.elapsed() > PATIENCE {
                let user = user::user(self.index).unwrap_or_else(|| "another program".into());
                refusals.block(
                    self.session,
                    "pty-taken",
                    path,
                    format!("{user} has a terminal of this number now"),
                    "close that terminal, or restore with a devpts of its own: unshare --mount, and in it \
                     mount -t devpts -o newinstance,ptmxmode=666 devpts /dev/pts",
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Kind for Master {
    type Source = OfFile;
}

impl FileKind for Master {
    fn matches(probe: &Probe) -> bool {
        Self::index(probe).is_some()
    }

    fn capture<'a>(probe: &Probe<'a>, cx: &mut FileCapture<'a>) -> Result<()> {
        let index = probe.demand("tty-index", |text| text.parse().ok())?;
        let master = probe.take()?;
        let master = master.as_fd();
        let failed = |what: &'static str| move |errno| probe.failed(what, errno);
        let settings =
            tty::settings(master).map_err(failed("read the settings of the terminal"))?;
        let session = match tty::session(master) {
            Err(Errno::ENOTTY) => 0,
            session => session.map_err(failed("ask whose terminal it is"))?,
        };
        let (events, waiting) =
            tty::waiting(master).map_err(failed("ask what waits in the terminal"))?;
        if settings[LINE_DISCIPLINE] != 0 {
            cx.refuse(
                probe,
                "pty-line-discipline",
                "a pseudo-terminal with a line discipline other than that of terminals (N_TTY)",
                "have the program set it back before the dump (TIOCSETD)",
            );
        }
        if waiting > 0 || events.contains(PollFlags::POLLIN) {
            cx.refuse(
                probe,
                "pty-output",
                "a pseudo-terminal with output that its controlling side has not read yet",
                "dump it again in a moment, when the program has read it",
            );
        }
        let terminal = format!("/dev/pts/{index}");
        let there = match stat(terminal.as_str()) {
            Ok(there) if there.st_rdev == device(index) => there,
            _ => {
                cx.refuse(
                    probe,
                    "pty-devpts",
                    format!("a pseudo-terminal of another devpts than {terminal}"),
                    "run crust where the /dev/pts of the program is mounted",
                );
                return Ok(());
            }
        };
        let is_of_tree = |pid| cx.tree.iter().any(|process| process.pid == pid);
        if session != 0 && !is_of_tree(session) {
            cx.refuse(
                probe,
                "pty-session-outside",
                format!("the controlling side of the terminal of session {session}, which is not in the tree"),
                "dump a tree that contains that session",
            );
        }
        let foreground = match tty::foreground(master) {
            Ok(group) if session != 0 && has_member(cx, group)? => group,
            _ => 0,
        };
        let state = Self {
            open: probe.open_with_owner(master)?,
            index,
            terminal: FilePath(terminal.into()),
            owner: (there.st_uid, there.st_gid),
            mode: there.st_mode & 0o7777,
            settings: settings.into(),
            size: tty::size(master)
                .map_err(failed("read the size of the terminal"))?
                .into(),
            has_packets: tty::has_packets(master).map_err(failed("ask for the packet mode"))?,
            is_locked: tty::is_locked(master).map_err(failed("ask for the lock"))?,
            is_hung_up: events.contains(PollFlags::POLLHUP),
            session,
            foreground,
        };
        cx.keep(probe.id, state)
    }
}

/// Notes what is lost if processes join their sessions before these have their terminals.
///
/// # Errors
///
/// Returns an error if a record cannot be decoded.
pub(super) fn losses(cx: &mut PlanCx<'_>) -> Result<()> {
    if cx.features.set_ids {
        return Ok(());
    }
    let masters = cx.image.all::<Master>();
    let sessions: BTreeSet<i32> = masters.map(|(_, master)| master.session).collect();
    if sessions.is_empty() {
        return Ok(());
    }
    for member in tree::members(cx.image)? {
        if sessions.contains(&member.sid) && member.sid != member.pid && member.zombie.is_none() {
            cx.refusals.lose(
                member.pid,
                "controlling-terminal",
                "controlling terminal",
                "on this kernel only the leader of a session gets it back: opening /dev/tty will fail",
                USE_THE_MODULE,
            );
        }
    }
    Ok(())
}

/// Returns the device number of a terminal (drivers/tty/pty.c:unix98_pty_init).
fn device(index: u32) -> u64 {
    libc::makedev(136 + (index >> 20), index & 0xfffff)
}

/// Returns whether a process of the tree is in a process group.
fn has_member(cx: &FileCapture, group: i32) -> Result<bool> {
    for process in cx.tree {
        let stat = crust_proc::stat(&process.proc, process.pid, "stat")?;
        if stat.signed(5) == i64::from(group) {
            return Ok(true);
        }
    }
    Ok(false)
}
