// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Who there is: processes, their threads, groups and sessions; who has ended, who is stopped.
//!
//! With the module every process is put where it was, in any order. Without it, [`session_replay`] says
//! what `setsid` and `setpgid` can do.

pub mod exits;
pub mod groups_sessions;
pub mod ids;
pub mod plan;
pub mod spawn;

use std::collections::BTreeSet;

use crust_image::Record;
use crust_model::object::State;
use crust_model::plan::{StopReported, TaskId};
use crust_model::{Error, Result};
use crust_sys::signal::bit;
use crust_sys::uapi::process_state;
use crust_tracee::frozen_process::FrozenProcess;
use serde::{Deserialize, Serialize};

pub use self::plan::plan;
use super::ProcessView;
use super::name::Name;
use super::session_replay::{self, Place};
use super::sharing::Sharing;
use super::start_time::Started;
use crate::capture::Capture;

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
    /// The status (as of `wait4`) with which the leader has ended, if other threads go on.
    pub ended_leader: Option<i32>,
    /// What it shares with its parent.
    pub sharing: Sharing,
    /// It leaves no zombie (`CLONE_AUTOREAP`).
    pub auto_reap: bool,
    /// The signal by which it is stopped (`SIGSTOP` and its kin), and what its parent has heard of that.
    pub stopped: Option<(i32, StopReported)>,
    /// When it began.
    pub started: Started,
}

impl State for Member {
    const TAG: u16 = 0x0100;
    const VERSION: u16 = 3;
    const NAME: &'static str = "process";
    const SUPPORT: &'static str = "pid and thread ids, parent, zombies, stopped processes; group, \
                                   session and start time (with the module any, without it those \
                                   groups and sessions that setsid and setpgid can make); leaders \
                                   that have ended while other threads go on; tables of \
                                   descriptors and working directories that are shared with a \
                                   parent";

    fn describe(&self) -> String {
        let state = match (self.zombie, self.stopped) {
            (Some(status), _) => format!("ended with status {status:#x}"),
            (None, Some((signal, _))) => {
                format!("{} threads, stopped by signal {signal}", self.threads.len())
            }
            (None, None) if self.ended_leader.is_some() => {
                format!(
                    "{} threads, of which the first has ended",
                    self.threads.len()
                )
            }
            (None, None) => format!("{} threads", self.threads.len()),
        };
        format!(
            "pid {}, group {}, session {}, {state}",
            self.pid, self.pgid, self.sid
        )
    }
}

// linux/sched.h of 7.3; the libc crate lacks it.
const CLONE_AUTOREAP: u64 = 1 << 34;

impl Member {
    /// The flags with which it is made.
    fn flags(&self) -> u64 {
        let auto_reap = if self.auto_reap { CLONE_AUTOREAP } else { 0 };
        self.sharing.flags() | auto_reap
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
    let stat = match view.map(|view| (&view.text.ended_leader, view.stat)) {
        Some((Some(ended), _)) => ended.clone(),
        Some((None, stat)) => stat.clone(),
        None => crust_proc::stat(&process.proc, process.pid, "stat")?,
    };
    let waits = |view: &ProcessView<'_>, field| view.status.hex(field).unwrap_or(0);
    let about_to_stop = view.is_some_and(|view| {
        (waits(view, "SigPnd") | waits(view, "ShdPnd")) & bit(libc::SIGSTOP) != 0
    });
    let leader = process.ended_leader.map(|_| process.pid);
    let member = Member {
        pid: process.pid,
        parent: process.parent.map(|parent| parent.0),
        threads: leader
            .into_iter()
            .chain(process.threads.iter().map(|thread| thread.tid))
            .collect(),
        pgid: stat.signed(5) as i32,
        sid: stat.signed(6) as i32,
        exit_signal: stat.signed(38) as i32,
        zombie: process.zombie,
        ended_leader: process.ended_leader,
        sharing: view.map(|view| view.sharing).unwrap_or_default(),
        auto_reap: view.is_some_and(|view| view.kernel.state & process_state::AUTOREAP != 0),
        stopped: match process.stopped {
            Some(signal) => Some((signal, heard(process)?)),
            None => about_to_stop.then_some((libc::SIGSTOP, StopReported::Nothing)),
        },
        started: Started::of(&stat),
    };
    capture.records.push(member.record(process.id.0, 0)?);
    if view.is_none() || process.ended_leader.is_some() {
        let name = Name::new(stat.comm);
        capture.records.push(name.record(process.id.0, 0)?);
    }
    Ok(())
}

/// What the parent has heard of the stop of a process. Its exit status (field 52) is the signal, until that was
/// waited for (kernel/exit.c:wait_task_stopped).
fn heard(process: &FrozenProcess) -> Result<StopReported> {
    let stat = crust_proc::stat(&process.proc, process.pid, "stat")?;
    Ok(match stat.field(52) {
        0 => StopReported::Status,
        _ => StopReported::Signal,
    })
}

/// Notes what of groups and sessions could not be restored on this kernel.
///
/// # Errors
///
/// What broke.
pub fn check(capture: &mut Capture<'_>) -> Result<()> {
    if capture.hooks.features().set_ids {
        return Ok(());
    }
    let members = members(&capture.records)?;
    let outside = outer(&members).filter(|_| capture.options.shell_job);
    for problem in session_replay::replay(&places_of(&members), outside)
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

/// The number of a task, for people; 0 if there is none.
pub(super) fn number(records: &[Record], task: TaskId) -> i32 {
    let of_process = |record: &&Record| (record.tag, record.owner) == (Member::TAG, task.process.0);
    let member = records.iter().find(of_process).map(Member::from_record);
    member
        .and_then(Result::ok)
        .and_then(|member| member.threads.get(task.thread as usize).copied())
        .unwrap_or(0)
}

/// The session of the shell to which a job belongs.
///
/// # Errors
///
/// As of [`members`].
pub fn session_of_shell(records: &[Record]) -> Result<Option<i32>> {
    Ok(outer(&members(records)?).map(|(_, sid)| sid))
}

/// The groups and sessions whose leaders are not in the tree, but for those of one session.
///
/// # Errors
///
/// As of [`members`].
pub fn groups_without_leader(records: &[Record], but_for: Option<i32>) -> Result<BTreeSet<i32>> {
    let members = members(records)?;
    let pids: BTreeSet<i32> = members.iter().map(|member| member.pid).collect();
    let groups = members.iter().filter(|member| but_for != Some(member.sid));
    Ok(groups
        .flat_map(|member| [member.pgid, member.sid])
        .filter(|pgid| !pids.contains(pgid))
        .collect())
}

/// Group and session of the root, if the tree did not make its session: those of a shell job.
fn outer(members: &[Member]) -> Option<(i32, i32)> {
    let root = members.first()?;
    let inside = members.iter().any(|member| member.pid == root.sid);
    (!inside).then_some((root.pgid, root.sid))
}

/// The group of a shell job that is to have the terminal: the one that had it, if it is of the job,
/// else that of the root. `None` if that group is not of the job's own making.
///
/// # Errors
///
/// What in the image makes no sense.
pub fn job(records: &[Record], had_terminal: Option<i32>) -> Result<Option<i32>> {
    let members = members(records)?;
    let Some((root, sid)) = outer(&members) else {
        return Ok(None);
    };
    let is_ours = |group: &i32| {
        let mut of_session = members.iter().filter(|member| member.sid == sid);
        of_session.any(|member| member.pid == *group && member.pgid == *group)
    };
    Ok(had_terminal.filter(is_ours).or(Some(root).filter(is_ours)))
}

fn places_of(members: &[Member]) -> Vec<Place> {
    let place = |member: &Member| Place {
        pid: member.pid,
        parent: member.parent.map(|parent| parent as usize),
        pgid: member.pgid,
        sid: member.sid,
    };
    members.iter().map(place).collect()
}
