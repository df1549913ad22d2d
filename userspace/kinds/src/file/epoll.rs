// SPDX-License-Identifier: Apache-2.0 OR MIT

//! An epoll instance and its targets, read from the `tfd:` lines of `fdinfo`
//! (`fs/eventpoll.c:ep_show_fdinfo`).
//!
//! The kernel identifies an entry by a description *and* the number it was added under. That number
//! may since have been closed or reused; `kcmp(KCMP_EPOLL_TFD)` finds the description. A restore
//! puts it back at that number for the duration of `EPOLL_CTL_ADD`.
//!
//! Whether an edge was already reported is not carried over: an entry with `EPOLLET` whose target
//! is ready reports it once more after a restore, as `EPOLL_CTL_MOD` would.

use std::rc::Rc;

use crust_model::object::State;
use crust_model::plan::{Arg, Call, Data};
use crust_model::words::count;
use crust_model::{Result, index};
use crust_sys::kcmp;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::collect::FileCapture;
use super::fd_plan::FdPlanner;
use super::probe::Probe;
use super::{DescriptionId, File, FileKind, Open};
use crate::file::OfFile;
use crate::kind::Kind;

/// The events that the kernel adds to every entry, and removes only when a one-shot entry has
/// fired.
const ALWAYS: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;

/// An entry of an epoll instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The descriptor number that the target was added under.
    pub number: i32,
    /// The description that is watched.
    pub description: DescriptionId,
    /// The events that are watched for.
    pub events: u32,
    /// The `epoll_data` of the entry.
    pub data: u64,
}

/// An epoll instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoll {
    /// The flags, owner and locks of the description.
    pub open: Open,
    /// The targets that the instance watches.
    pub targets: Vec<Target>,
}

impl State for Epoll {
    const TAG: u16 = 0x0319;
    const NAME: &'static str = "epoll";
    const SUPPORT: &'static str = "Targets, also nested ones and ones whose number was closed or \
        used again; events, data. A ready edge-triggered target reports once more.";

    fn describe(&self) -> String {
        count(self.targets.len() as u64, "target", "targets")
    }
}

impl File for Epoll {
    fn open(&self) -> &Open {
        &self.open
    }

    fn needs(&self) -> Vec<DescriptionId> {
        self.targets
            .iter()
            .map(|target| target.description)
            .collect()
    }

    fn first_above(&self) -> i32 {
        let numbers = self.targets.iter().map(|target| target.number);
        numbers.max().map_or(0, |number| number.saturating_add(1))
    }

    fn create(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let number = planner.creator(id)?.number;
        planner.make(id, |cloexec| {
            let flags = if cloexec { libc::EPOLL_CLOEXEC } else { 0 };
            let what = format!("fd {number}: epoll");
            Call::new(what, libc::SYS_epoll_create1, [Arg::from(flags)])
        })
    }

    fn connect(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let epoll = planner.creator(id)?.number;
        for target in &self.targets {
            let now = planner.occupant(target.number);
            if now.is_some_and(|slot| slot.description == target.description) {
                add(epoll, target, planner);
                continue;
            }
            let at = planner.at(target.description)?;
            match now {
                None => {
                    planner.dup(at, target.number, true);
                    add(epoll, target, planner);
                    planner.close(target.number);
                }
                Some(slot) => {
                    let aside = planner.temporary_fd();
                    planner.dup(slot.number, aside, true);
                    planner.dup(at, target.number, true);
                    add(epoll, target, planner);
                    planner.dup(aside, slot.number, slot.cloexec);
                    planner.close(aside);
                }
            }
        }
        Ok(())
    }
}

fn add(epoll: i32, target: &Target, planner: &mut FdPlanner) {
    // struct epoll_event is packed on x86-64.
    let mut event = target.events.to_ne_bytes().to_vec();
    event.extend(target.data.to_ne_bytes());
    planner.call(Call::new(
        format!("fd {epoll}: watch fd {}", target.number),
        libc::SYS_epoll_ctl,
        [
            Arg::from(epoll),
            Arg::from(libc::EPOLL_CTL_ADD),
            Arg::from(target.number),
            Arg::from(Data::new(event)),
        ],
    ));
}

/// An entry as shown by a line of `fdinfo`.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    number: i32,
    events: u32,
    data: u64,
    ino: u64,
    dev: u64,
}

/// An epoll instance whose targets are not resolved yet.
pub struct Watching {
    epoll: DescriptionId,
    lines: Vec<Line>,
}

impl Kind for Epoll {
    type Source = OfFile;
}

impl FileKind for Epoll {
    fn matches(probe: &Probe) -> bool {
        probe.is_linked("anon_inode:[eventpoll]")
    }

    fn capture<'a>(probe: &Probe<'a>, cx: &mut FileCapture<'a>) -> Result<()> {
        let lines = probe
            .info
            .lines()
            .filter(|line| line.starts_with("tfd:"))
            .map(|line| parse(line).ok_or_else(|| probe.malformed(line)))
            .collect::<Result<_>>()?;
        cx.watching.push(Watching {
            epoll: probe.id,
            lines,
        });
        Ok(())
    }

    fn resolve_refs(cx: &mut FileCapture) -> Result<()> {
        for Watching { epoll, lines } in std::mem::take(&mut cx.watching) {
            let probe = Rc::clone(&cx.probes[epoll.0 as usize]);
            let mut targets = Vec::new();
            for (index, line) in lines.iter().enumerate() {
                let same_number = lines[..index].iter().filter(|l| l.number == line.number);
                let skip = index::number(same_number.count());
                let Some(description) = find(&probe, line, skip, cx)? else {
                    let why = format!(
                        "an epoll that watches, as fd {}, a file that no process of the tree has open",
                        line.number
                    );
                    cx.refuse(
                        &probe,
                        "epoll-entry",
                        why,
                        "have the program remove it before the dump (EPOLL_CTL_DEL)",
                    );
                    continue;
                };
                if line.events & ALWAYS == 0 {
                    cx.lose(
                        &probe,
                        "epoll-one-shot",
                        format!(
                            "the one-shot entry of fd {} has fired: after a restore it reports \
                             errors and hang-ups all the same",
                            line.number
                        ),
                        "nothing needs to be done, if the program arms it again with EPOLL_CTL_MOD as usual",
                    );
                }
                targets.push(Target {
                    number: line.number,
                    description,
                    events: line.events,
                    data: line.data,
                });
            }
            let open = probe.open();
            cx.keep(epoll, Epoll { open, targets })?;
        }
        Ok(())
    }
}

/// Finds the description of an entry, which most often is that of the descriptor with this number.
fn find(epoll: &Probe, line: &Line, skip: u32, cx: &FileCapture) -> Result<Option<DescriptionId>> {
    let most_likely = cx.occupant(epoll.holder.process, line.number);
    for candidate in most_likely
        .into_iter()
        .chain(cx.of_file(line.dev, line.ino))
    {
        let order = kcmp::epoll_target(
            candidate.descriptor(),
            epoll.descriptor(),
            line.number,
            skip,
        );
        match order {
            Ok(order) if order.is_eq() => return Ok(Some(candidate.id)),
            Ok(_) => {}
            // The entry is gone: a process outside the tree closed its file.
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(epoll.failed("kcmp of an epoll target", errno)),
        }
    }
    Ok(None)
}

/// Parses a line like
/// `tfd:        5 events:       19 data:                5  pos:0 ino:1b30 sdev:d`.
fn parse(line: &str) -> Option<Line> {
    let value = |name: &str| {
        let (_, rest) = line.split_once(name)?;
        rest.split_whitespace().next()
    };
    let hex = |name: &str| u64::from_str_radix(value(name)?, 16).ok();
    // The kernel's own dev_t has 20 bits for the minor number.
    let dev = u32::try_from(hex("sdev:")?).ok()?;
    Some(Line {
        number: value("tfd:")?.parse().ok()?,
        events: u32::try_from(hex("events:")?).ok()?,
        data: hex("data:")?,
        ino: hex("ino:")?,
        dev: libc::makedev(dev >> 20, dev & 0xf_ffff),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel() {
        let line = "tfd:        5 events:       19 data: ffffffff00000005  pos:0 ino:1b30 sdev:d";
        assert_eq!(
            parse(line),
            Some(Line {
                number: 5,
                events: 0x19,
                data: 0xffff_ffff_0000_0005,
                ino: 0x1b30,
                dev: libc::makedev(0, 13),
            })
        );
        assert_eq!(parse("tfd: 5"), None);
    }
}
