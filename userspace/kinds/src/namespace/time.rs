// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The clocks that count from boot, and the time namespace, which adds offsets to them (`time_namespaces(7)`).
//!
//! A program that was in a time namespace of its own is restored in one with the same offsets. With `restore
//! --keep-clocks` every program is restored in one whose offsets make the clocks continue from where they were at the
//! dump: for them, the time in between has not passed.

use std::path::PathBuf;

use crust_model::object::State;
use crust_model::plan::{After, Clocks as Plan, Offsets, SECOND};
use crust_model::refusal::Refusals;
use crust_model::{Error, Result, words};
use crust_tracee::clock;
use crust_tracee::texts::NAMESPACES;
use nix::time::ClockId;
use serde::{Deserialize, Serialize};

use crate::capture::Capture;
use crate::conflicts::Conflicts;
use crate::kind::{Kind, Kinds, OfTree, TreeKind};
use crate::plan_context::{PlanCx, RestoreOptions};
use crate::task::{self, Member};

/// The readings of the clocks at the dump, as the program saw them, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// `CLOCK_MONOTONIC`.
    pub monotonic: u64,
    /// `CLOCK_BOOTTIME`.
    pub boottime: u64,
    /// `CLOCK_REALTIME`, counted from 1970.
    pub realtime: u64,
    /// The offsets that the time namespace of the program adds to the first two.
    pub offsets: Offsets,
    /// Whether that time namespace differs from crust's own.
    pub apart: bool,
}

impl State for Clocks {
    const TAG: u16 = 0x0400;
    const NAME: &'static str = "clocks";
    const SUPPORT: &'static str = "A time namespace that the whole tree is in, with its offsets; with \
                                   `restore --keep-clocks` the monotonic and the boot-time clock \
                                   go on from where they were.";

    fn describe(&self) -> String {
        let seconds = |time: u64| format!("{}.{:09}", time / SECOND, time % SECOND);
        let apart = if self.apart {
            ", in a time namespace"
        } else {
            ""
        };
        format!(
            "monotonic {} s, since boot {} s, real {} s{apart}",
            seconds(self.monotonic),
            seconds(self.boottime),
            seconds(self.realtime)
        )
    }
}

/// Returns the links `time_for_children` and `time` among the namespace links of a thread.
fn links(namespaces: &[Option<PathBuf>]) -> [Option<&PathBuf>; 2] {
    ["time_for_children", "time"].map(|name| {
        let place = NAMESPACES.iter().position(|other| *other == name)?;
        namespaces.get(place)?.as_ref()
    })
}

impl Kind for Clocks {
    type Source = OfTree;

    fn conflicts(_: Kinds, cx: &mut Conflicts<'_>) -> Result<()> {
        conflicts(cx)
    }
}

impl TreeKind for Clocks {
    fn capture(_: Kinds, cx: &mut Capture<'_>) -> Result<()> {
        capture(cx)
    }

    fn plan(_: Kinds, cx: &mut PlanCx<'_>) -> Result<()> {
        for (_, clocks) in cx.image.all::<Clocks>() {
            clocks.plan(cx);
        }
        Ok(())
    }
}

/// Captures the clocks of a tree, and refuses threads that are in another time namespace than its root.
fn capture(capture: &mut Capture<'_>) -> Result<()> {
    let texts = capture.texts;
    let Some((root, of_root)) = capture
        .tree
        .first()
        .and_then(|root| Some((root, texts.first()?.1.first()?)))
    else {
        return Ok(());
    };
    let [_, home] = links(&of_root.namespaces);
    for (process, (_, threads)) in capture.tree.iter().zip(texts) {
        for (thread, text) in process.threads.iter().zip(threads) {
            let theirs = links(&text.namespaces);
            // A thread other than the leader is in the time namespace of the leader.
            let elsewhere = |link: &&PathBuf| Some(*link) != home;
            if theirs.iter().flatten().any(elsewhere) {
                capture.refusals.block(
                    thread.tid,
                    "time-namespace",
                    "time namespace",
                    "it is in another one than the root of its tree, or has another one for its children, \
                     which is not carried over yet",
                    "run the whole tree in one (unshare --time --fork), and dump it from its root on",
                );
            }
        }
    }
    let own = std::fs::read_link("/proc/self/ns/time").ok();
    let offsets = offsets_of(&root.proc, root.pid)?;
    let ours = clock::own_offsets();
    let since_start = |clock, theirs: i64, ours: i64| -> Result<u64> {
        Ok(clock::read(clock)?.saturating_add_signed(theirs - ours))
    };
    let clocks = Clocks {
        monotonic: since_start(ClockId::CLOCK_MONOTONIC, offsets.monotonic, ours.monotonic)?,
        boottime: since_start(ClockId::CLOCK_BOOTTIME, offsets.boottime, ours.boottime)?,
        realtime: clock::read(ClockId::CLOCK_REALTIME)?,
        offsets,
        apart: home != own.as_ref(),
    };
    capture.image.add(root.id, clocks)
}

/// Returns the offsets of the time namespace of a process (and of its children): zero on a kernel without time
/// namespaces.
///
/// # Errors
///
/// [`Error::Gone`] if the process has died.
pub fn offsets_of(proc: impl std::os::fd::AsFd, pid: i32) -> Result<Offsets> {
    const NAME: &str = "timens_offsets";
    match crust_proc::read_text(proc, pid, NAME) {
        Ok(text) => Offsets::parse(&text).ok_or_else(|| {
            Error::malformed(
                format!("/proc/{pid}/{NAME}"),
                "cannot be read as it should be",
            )
        }),
        Err(Error::Task {
            errno: nix::errno::Errno::ENOENT,
            ..
        }) => Ok(Offsets::default()),
        Err(error) => Err(error),
    }
}

impl Clocks {
    /// Plans the time namespace in which the tree is created.
    fn plan(&self, cx: &mut PlanCx<'_>) {
        cx.plan.clocks = Plan {
            before: self.offsets,
            after: self.after(cx.options),
        };
    }

    fn after(&self, options: &RestoreOptions) -> After {
        if options.keep_clocks {
            After::Continued {
                monotonic: self.monotonic,
                boottime: self.boottime,
            }
        } else if self.apart {
            After::Shifted(self.offsets)
        } else {
            After::OfCrust
        }
    }

    /// Returns how many nanoseconds the program's clocks would go back on this machine, whose clocks (monotonic and
    /// boot-time) read `machine` in the initial time namespace; `None` if they would not.
    fn behind(&self, after: After, machine: [u64; 2], ours: Offsets) -> Option<u64> {
        let offsets = match after {
            After::Continued { .. } => return None,
            After::Shifted(offsets) => offsets,
            After::OfCrust => ours,
        };
        let behind = |before: u64, now: u64, offset: i64| {
            i128::from(before) - (i128::from(now) + i128::from(offset))
        };
        let most = behind(self.monotonic, machine[0], offsets.monotonic).max(behind(
            self.boottime,
            machine[1],
            offsets.boottime,
        ));
        u64::try_from(most).ok().filter(|&most| most > 0)
    }
}

/// Checks what on this machine is in the way, and what is lost.
fn conflicts(cx: &mut Conflicts<'_>) -> Result<()> {
    let (options, refusals) = (cx.options, &mut cx.refusals);
    let Some((_, clocks)) = cx.image.all::<Clocks>().next() else {
        return Ok(());
    };
    let members = task::tree::members(cx.image)?;
    let Some(root) = members.first() else {
        return Ok(());
    };
    let after = clocks.after(options);
    if after != After::OfCrust && !std::path::Path::new("/proc/self/ns/time").exists() {
        refusals.block(
            root.pid,
            "time-namespace-missing",
            "clocks",
            "this kernel has no time namespaces (CONFIG_TIME_NS)",
            "restore it on a kernel that has them, or without --keep-clocks",
        );
        return Ok(());
    }
    let ours = clock::own_offsets();
    let machine = [clock::monotonic(), clock::boottime()];
    if let Some(behind) = clocks.behind(after, machine, ours) {
        let why = format!(
            "this machine has been running for less time than that of the dump: for the program the monotonic clock goes \
             back by {} s",
            behind.div_ceil(SECOND)
        );
        refusals.lose(
            root.pid,
            "clocks-go-back",
            "clocks",
            why,
            "restore it with --keep-clocks",
        );
    }
    if cx.features.set_start {
        starts(&members, clocks, after, machine, ours, refusals);
    }
    Ok(())
}

/// Reports the loss for processes whose start time is before the boot of this machine, or still in the future.
fn starts(
    members: &[&Member],
    clocks: &Clocks,
    after: After,
    machine: [u64; 2],
    ours: Offsets,
    refusals: &mut Refusals,
) {
    let [_, shift] = after.shift(clocks.offsets, machine, ours);
    let now = machine[1];
    let too_early = |member: &&&Member| {
        let start = member.started.0.checked_add_signed(shift);
        start.is_none_or(|start| start > now)
    };
    let count = members.iter().filter(too_early).count();
    if let Some(first) = members.iter().find(too_early) {
        let why = format!(
            "{} before this machine was started, or in its future: the nearest possible \
             start time is used",
            words::count(count as u64, "process began", "processes began")
        );
        let remedy = "nothing needs to be done, unless something compares start times";
        refusals.lose(first.pid, "start-time", "start time", why, remedy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(apart: bool) -> Clocks {
        Clocks {
            monotonic: 100 * SECOND,
            boottime: 120 * SECOND,
            realtime: 0,
            offsets: Offsets {
                monotonic: 10 * SECOND as i64,
                boottime: 0,
            },
            apart,
        }
    }

    #[test]
    fn where_a_tree_is_born() {
        let mut options = RestoreOptions::default();
        assert_eq!(clocks(false).after(&options), After::OfCrust);
        assert_eq!(
            clocks(true).after(&options),
            After::Shifted(clocks(true).offsets)
        );
        options.keep_clocks = true;
        let kept = After::Continued {
            monotonic: 100 * SECOND,
            boottime: 120 * SECOND,
        };
        assert_eq!(clocks(true).after(&options), kept);
        assert_eq!(clocks(false).after(&options), kept);
    }

    #[test]
    fn clocks_that_would_go_back() {
        let none = Offsets::default();
        let behind = |apart: bool, machine: [u64; 2]| {
            let clocks = clocks(apart);
            let after = clocks.after(&RestoreOptions::default());
            clocks.behind(after, machine.map(|time| time * SECOND), none)
        };
        assert_eq!(behind(false, [200, 200]), None);
        assert_eq!(behind(false, [95, 200]), Some(5 * SECOND));
        assert_eq!(behind(true, [95, 200]), None);
        assert_eq!(behind(true, [95, 110]), Some(10 * SECOND));
        let kept = After::Continued {
            monotonic: 0,
            boottime: 0,
        };
        assert_eq!(clocks(true).behind(kept, [0, 0], none), None);
    }
}
