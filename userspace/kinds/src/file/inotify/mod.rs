// SPDX-License-Identifier: Apache-2.0 OR MIT

//! An inotify instance and its watches, read from `fdinfo`.
//!
//! A watch refers to an inode, whatever its current path is, and it has a number. [`locate`] finds the path. A restore
//! chooses the number with `INOTIFY_IOC_SETNEXTWD` (`fs/notify/inotify/inotify_user.c:inotify_ioctl`) and watches the
//! path without following a symbolic link, since the path leads to the watched file itself. This happens in a stage of
//! its own ([`Stage::Watches`]), after everything else that opens or closes a file, so that the queue stays empty.
//!
//! Unread events cannot be copied: `read` consumes them, and `FIONREAD` tells only their size in bytes.
//!
//! The kernel numbers watches cyclically (`inotify_add_to_idr`) and does not show the next number. After a restore it
//! continues after the latest watch that is left, so the numbers of later watches that were removed are given out
//! again.

pub mod fdinfo;
pub mod locate;
pub mod mounts;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Arg, Call, Stage};
use crust_model::refusal::{Refusal, Refusals};
use crust_model::words::count;
use crust_sys::fcntl;
use linux_raw_sys::ioctl::INOTIFY_IOC_SETNEXTWD;
use serde::{Deserialize, Serialize};

use super::collect::FileCapture;
use super::fd_plan::FdPlanner;
use super::probe::Probe;
use super::{DescriptionId, File, FileKind, Open};
use crate::file::OfFile;
use crate::kind::Kind;
use crate::path::Named;

/// The number of watches that are listed one by one; any more are only counted.
const NAMED: usize = 4;
/// The size of an event without a name (`struct inotify_event`), in bytes.
const SHORTEST: u32 = 16;
/// The size of an event with the longest name: `NAME_MAX` and a zero
/// (`inotify_user.c:round_event_name_len`).
const LONGEST: u32 = 16 + 256;

/// A watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The watch descriptor.
    pub wd: i32,
    /// The events that are watched for, with `IN_EXCL_UNLINK` and `IN_ONESHOT`. Other flags only affect how a watch is
    /// added.
    pub mask: u32,
    /// The path and identity of the file.
    pub file: Named,
}

/// An inotify instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inotify {
    /// The flags, owner and locks of the description.
    pub open: Open,
    /// The watches, in the order in which they were added.
    pub watches: Vec<Watch>,
}

impl State for Inotify {
    const TAG: u16 = 0x0334;
    const NAME: &'static str = "inotify instance";
    const SUPPORT: &'static str = "Watches of files and directories that have a path, renamed or not: numbers, events, \
        IN_EXCL_UNLINK and IN_ONESHOT; flags, owner. What happens to the files between dump and restore is not seen. Events \
        that were not read are refused, or dropped by dump --lossy. Numbers of removed watches may be given \
        again. Instances and watches count against the limits of the user who restores them.";

    fn describe(&self) -> String {
        let watches: Vec<_> = self
            .watches
            .iter()
            .map(|watch| format!("{} of {}", watch.wd, watch.file.path))
            .collect();
        match watches.len() {
            0 => "no watches".into(),
            1..=NAMED => format!("watches {}", watches.join(", ")),
            count => format!("{count} watches, {} ...", watches[..NAMED].join(", ")),
        }
    }
}

impl File for Inotify {
    fn open(&self) -> &Open {
        &self.open
    }

    fn create(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let number = planner.creator(id)?.number;
        planner.make(id, |cloexec| {
            let cloexec = if cloexec { libc::IN_CLOEXEC } else { 0 };
            let flags = self.open.flags & libc::O_NONBLOCK | cloexec;
            let what = format!("fd {number}: inotify");
            Call::new(what, libc::SYS_inotify_init1, [Arg::from(flags)])
        })
    }

    fn connect(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let number = planner.creator(id)?.number;
        let mut next = 1;
        for Watch { wd, mask, file } in &self.watches {
            if *wd != next {
                let args = [number.into(), INOTIFY_IOC_SETNEXTWD.into(), (*wd).into()];
                let what = format!("fd {number}: the next watch is {wd}");
                planner.call_later(Stage::Watches, Call::new(what, libc::SYS_ioctl, args));
            }
            // The kernel refuses a mask of 0, which a watch without events (as by IN_ONLYDIR alone) would have.
            let mask = mask | libc::IN_DONT_FOLLOW;
            let args = [
                Arg::from(number),
                file.path.data().into(),
                u64::from(mask).into(),
            ];
            let what = format!("fd {number}: watch {wd}, of {}", file.path);
            let add = Call::new(what, libc::SYS_inotify_add_watch, args);
            planner.call_later(
                Stage::Watches,
                add.must_return(u64::from(wd.unsigned_abs())),
            );
            next = wd.saturating_add(1);
        }
        Ok(())
    }

    fn check(&self, refusals: &mut Refusals) {
        for Watch { wd, file, .. } in &self.watches {
            let mut of_file = Refusals::default();
            file.conflicts(&mut of_file);
            for refusal in of_file.into_vec() {
                refusals.add(Refusal {
                    object: format!("{} (inotify watch {wd})", refusal.object),
                    ..refusal
                });
            }
        }
    }
}

impl Kind for Inotify {
    type Source = OfFile;
}

impl FileKind for Inotify {
    fn matches(probe: &Probe) -> bool {
        probe.is_linked("anon_inode:inotify")
    }

    fn capture<'a>(probe: &Probe<'a>, cx: &mut FileCapture<'a>) -> Result<()> {
        if probe.holder.is_crust {
            cx.refuse(
                probe,
                "inotify-in-flight",
                "an inotify instance in a message that nobody has received yet: its queue would tell of files that the \
                 restore itself opens",
                "dump it when the program has received that message",
            );
            return Ok(());
        }
        let instance = probe.take()?;
        let queued = fcntl::readable(instance.as_fd())
            .map_err(|errno| probe.failed("FIONREAD of an inotify instance", errno))?;
        if queued > 0 {
            note_events(queued, probe, cx);
        }
        let mut marks = fdinfo::marks(&probe.info).map_err(|line| probe.malformed(line))?;
        marks.reverse();
        let found = locate::files(&marks, || candidates(cx))?;
        let mut watches = Vec::new();
        let mut lost = Vec::new();
        for (mark, found) in marks.iter().zip(found) {
            match found {
                Ok(file) => watches.push(Watch {
                    wd: mark.wd,
                    mask: mark.mask,
                    file,
                }),
                Err(why) => lost.push(why.explain(mark)),
            }
        }
        let more = lost.split_off(lost.len().min(NAMED));
        for (why, remedy) in lost {
            cx.refuse(probe, "inotify-watch", why, remedy);
        }
        if let Some((_, remedy)) = more.first() {
            let why = format!(
                "{} not found",
                count(
                    more.len() as u64,
                    "more watch whose file is",
                    "more watches whose files are"
                )
            );
            cx.refuse(probe, "inotify-watch", why, remedy);
        }
        let open = probe.open_with_owner(&instance)?;
        cx.keep(probe.id, Self { open, watches })
    }
}

/// Notes the fate of events that wait to be read. The program still has them if it continues.
fn note_events(bytes: u32, probe: &Probe, cx: &mut FileCapture) {
    let events = events(bytes);
    if cx.options.lossy {
        let why = format!("what waits in its queue, {events}, is not in the image");
        cx.lose(
            probe,
            "inotify-events",
            why,
            "have the program read them before the dump",
        );
        return;
    }
    cx.refusals.decide(
        probe.holder.pid,
        "inotify-events",
        probe.object.as_str(),
        format!("an inotify instance with {events} not read yet: to copy them is to take them away"),
        "have the program read them first (an image in a directory that it watches causes more), or drop them: dump --lossy",
    );
}

/// Describes how many events these bytes are, as far as that can be told: each may have a name, which is padded.
fn events(bytes: u32) -> String {
    let (least, most) = (bytes.div_ceil(LONGEST), bytes / SHORTEST);
    if most == 1 {
        return "1 event".into();
    }
    format!("{least} to {most} events ({bytes} bytes)")
}

/// Returns paths that may lead to a watched file: all that the tree has open, works in or was started with, and the
/// directories that contain them. Paths in `/proc` are left out, since each lookup there yields another file.
fn candidates(cx: &FileCapture) -> BTreeSet<PathBuf> {
    let as_path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let open = cx.probes.iter().filter(|probe| probe.is_reachable);
    let mut paths: BTreeSet<PathBuf> = open.map(|probe| as_path(&probe.link)).collect();
    for process in cx.tree {
        let Ok(cwd) = crust_proc::link(&process.proc, process.pid, "cwd") else {
            continue;
        };
        let arguments = crust_proc::read(&process.proc, process.pid, "cmdline").unwrap_or_default();
        for argument in arguments.split(|&byte| byte == 0) {
            let path = cwd.join(as_path(argument));
            // Add the target of a symbolic link, since most watches follow links, and the link itself.
            paths.extend(fs::canonicalize(&path));
            let directory = path.parent().map(fs::canonicalize);
            if let (Some(Ok(directory)), Some(name)) = (directory, path.file_name()) {
                paths.insert(directory.join(name));
            }
        }
        paths.insert(cwd);
    }
    let directories = paths.iter().filter_map(|path| path.parent());
    let directories: Vec<_> = directories.map(Path::to_owned).collect();
    paths.extend(directories);
    paths.retain(|path| path.is_absolute() && !path.starts_with("/proc"));
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::FilePath;

    #[test]
    fn events_are_counted_as_far_as_that_can_be() {
        assert_eq!(events(16), "1 event");
        assert_eq!(events(32), "1 to 2 events (32 bytes)");
        assert_eq!(events(272), "1 to 17 events (272 bytes)");
        assert_eq!(events(288), "2 to 18 events (288 bytes)");
    }

    fn instance(count: i32) -> Inotify {
        let watch = |wd| Watch {
            wd,
            mask: libc::IN_MODIFY,
            file: Named {
                path: FilePath(format!("/nonexistent/{wd}").into()),
                dev: 1,
                ino: 2,
                mode: libc::S_IFREG,
                size: 0,
                rdev: 0,
            },
        };
        Inotify {
            open: Open::default(),
            watches: (1..=count).map(watch).collect(),
        }
    }

    #[test]
    fn many_watches_are_one_line() {
        assert_eq!(instance(0).describe(), "no watches");
        assert_eq!(instance(1).describe(), "watches 1 of /nonexistent/1");
        let text = instance(9).describe();
        assert!(text.starts_with("9 watches, 1 of "), "{text}");
        assert!(text.ends_with("4 of /nonexistent/4 ..."), "{text}");
    }

    #[test]
    fn a_watched_file_that_is_missing_is_a_conflict() {
        let mut refusals = Refusals::default();
        instance(1).check(&mut refusals);
        let refusal = &refusals.as_slice()[0];
        assert_eq!(refusal.object, "/nonexistent/1 (inotify watch 1)");
        assert_eq!(refusal.why, "the file is missing");
    }
}
