// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Who there is: processes, their threads, groups and sessions; who has ended, who is stopped.
//!
//! With the module every process is put where it was, in any order. Without it, [`order`] says
//! what `setsid` and `setpgid` can do.

mod plan;

use crust_image::Record;
use crust_sys::signal::bit;
use serde::{Deserialize, Serialize};

pub use self::plan::plan;
use super::ProcessView;
use super::order::{self, Place};
use super::started::Started;
use crate::capture::Capture;
use crate::object::State;
use crate::plan::Heard;
use crate::subject::FrozenProcess;
use crate::{Error, Result, procfs};

/// A process of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its process id.
    pub pid: i32,
    /// The number of its parent in the image; `None` for the root.
    pub parent: Option<u32>,
    /// The ids of its threads, the leader first; none for a zombie.
    pub threads: Vec<i32>,
    /// Its process group.
    pub pgid: i32,
    /// Its session.
    pub sid: i32,
    /// The signal that its parent gets when it ends, 0 for none.
    pub exit_signal: i32,
    /// The status as of `wait4`, of a process that has ended and was not waited for.
    pub zombie: Option<i32>,
    /// The signal by which it is stopped (`SIGSTOP` and its kin), and what its parent has heard of that.
    pub stopped: Option<(i32, Heard)>,
    /// When it began, on the monotonic clock, in nanoseconds.
    pub start_time: u64,
    /// When it began, on the boot-time clock, in nanoseconds.
    pub start_boottime: u64,
}

impl State for Member {
    const TAG: u16 = 0x0100;
    const VERSION: u16 = 2;
    const NAME: &'static str = "process";
    const SUPPORT: &'static str = "pid and thread ids, parent, zombies, stopped processes; group, \
                                   session and start time (with the module any, without it those \
                                   groups and sessions that setsid and setpgid can make)";

    fn describe(&self) -> String {
        let state = match (self.zombie, self.stopped) {
            (Some(status), _) => format!("ended with status {status:#x}"),
            (None, Some((signal, _))) => {
                format!("{} threads, stopped by signal {signal}", self.threads.len())
            }
            (None, None) => format!("{} threads", self.threads.len()),
        };
        format!(
            "pid {}, group {}, session {}, {state}",
            self.pid, self.pgid, self.sid
        )
    }
}

/// Captures who a process is; a zombie has no view.
///
/// # Errors
///
/// What broke.
pub fn capture(
    process: &FrozenProcess,
    view: Option<&ProcessView<'_>>,
    capture: &mut Capture<'_>,
) -> Result<()> {
    let stat = match view {
        Some(view) => view.stat.clone(),
        None => procfs::stat(&process.proc, process.pid, "stat")?,
    };
    let (start_time, start_boottime) = match view.map(|view| &view.kernel) {
        Some(kernel) if kernel.start_time != 0 => (kernel.start_time, kernel.start_boottime),
        // A zombie, or no module.
        _ => {
            let started = Started::of(&stat)?;
            (started.monotonic, started.boottime)
        }
    };
    let waits = |view: &ProcessView<'_>, field| view.status.hex(field).unwrap_or(0);
    let about_to_stop = view.is_some_and(|view| {
        (waits(view, "SigPnd") | waits(view, "ShdPnd")) & bit(libc::SIGSTOP) != 0
    });
    let member = Member {
        pid: process.pid,
        parent: process.parent.map(|parent| parent.0),
        threads: process.threads.iter().map(|thread| thread.tid).collect(),
        pgid: stat.signed(5) as i32,
        sid: stat.signed(6) as i32,
        exit_signal: stat.signed(38) as i32,
        zombie: process.zombie,
        stopped: match process.stopped {
            Some(signal) => Some((signal, heard(process)?)),
            None => about_to_stop.then_some((libc::SIGSTOP, Heard::Nothing)),
        },
        start_time,
        start_boottime,
    };
    capture.records.push(member.record(process.id.0, 0)?);
    Ok(())
}

/// What the parent has heard of the stop of a process. Its exit status (field 52) is the signal, until that was
/// waited for (kernel/exit.c:wait_task_stopped).
fn heard(process: &FrozenProcess) -> Result<Heard> {
    let stat = procfs::stat(&process.proc, process.pid, "stat")?;
    Ok(match stat.field(52) {
        0 => Heard::Status,
        _ => Heard::Signal,
    })
}

/// Notes what of groups and sessions could not be restored on this kernel.
///
/// # Errors
///
/// What broke.
pub fn check(capture: &mut Capture<'_>) -> Result<()> {
    if capture.hooks.abilities().set_ids {
        return Ok(());
    }
    let members = members(&capture.records)?;
    let outside = outer(&members).filter(|_| capture.options.shell_job);
    for problem in order::replay(&places(&members), outside)
        .err()
        .unwrap_or_default()
    {
        let pid = members[problem.process].pid;
        let remedy = if outer(&members).is_some() && !capture.options.shell_job {
            "dump and restore with --shell-job, or start the program with setsid, or load the module"
        } else {
            "load the module"
        };
        let why = format!("{}, which this kernel cannot restore", problem.why);
        capture.refusals.block(pid, problem.object, why, remedy);
    }
    Ok(())
}

/// All processes of an image, by their number in it.
///
/// # Errors
///
/// If one is missing, or has its parent after it.
pub fn members(records: &[Record]) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    let mut found: Vec<_> = records
        .iter()
        .filter(|record| record.tag == Member::TAG)
        .collect();
    found.sort_by_key(|record| record.owner);
    for record in found {
        let member = Member::from_record(record)?;
        let id = members.len() as u32;
        let orphan = match member.parent {
            None => id != 0,
            Some(parent) => parent >= id,
        };
        if record.owner != id || orphan {
            return Err(Error::malformed(
                format!("process {}", record.owner),
                "the tree is not whole",
            ));
        }
        members.push(member);
    }
    Ok(members)
}

/// Group and session of the root, if the tree did not make its session: those of a shell job.
fn outer(members: &[Member]) -> Option<(i32, i32)> {
    let root = members.first()?;
    let inside = members.iter().any(|member| member.pid == root.sid);
    (!inside).then_some((root.pgid, root.sid))
}

fn places(members: &[Member]) -> Vec<Place> {
    let place = |member: &Member| Place {
        pid: member.pid,
        parent: member.parent.map(|parent| parent as usize),
        pgid: member.pgid,
        sid: member.sid,
    };
    members.iter().map(place).collect()
}
