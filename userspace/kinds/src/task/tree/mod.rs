// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The process tree: processes, their threads, process groups and sessions; which have exited, and which are stopped.
//!
//! With the module every process is put where it was, in any order. Without it, [`session_replay`] determines what
//! `setsid` and `setpgid` can do.

pub mod creators;
pub mod exits;
pub mod groups_sessions;
pub mod ids;
pub mod plan;
pub mod spawn;

use std::borrow::Borrow;
use std::collections::BTreeSet;

use crust_model::image::Image;
use crust_model::object::State;
use crust_model::plan::{ProcessId, StopReported, TaskId};
use crust_model::refusal::USE_THE_MODULE;
use crust_model::words::count;
use crust_model::{Error, Result, index};
use crust_sys::process::CLONE_AUTOREAP;
use crust_sys::signal::bit;
use crust_sys::uapi::process_state;
use crust_tracee::frozen_process::FrozenProcess;
use serde::{Deserialize, Serialize};

use super::ProcessView;
use super::name::Name;
use super::session_replay::{self, Place};
use super::sharing::Sharing;
use super::start_time::Started;
use crate::capture::Capture;
use crate::kind::{Kind, Kinds, OfTree, TreeKind};
use crate::plan_context::PlanCx;

/// A process of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The process id.
    pub pid: i32,
    /// The number of the parent in the image; `None` for the root.
    pub parent: Option<u32>,
    /// The thread ids, that of the leader first; empty for a zombie.
    pub threads: Vec<i32>,
    /// The process group.
    pub pgid: i32,
    /// The session.
    pub sid: i32,
    /// The signal that the parent gets when the process exits; 0 for none.
    pub exit_signal: i32,
    /// The status, as from `wait4`, of a process that has exited and was not waited for.
    pub zombie: Option<i32>,
    /// The status, as from `wait4`, with which the leader has exited, if other threads continue.
    pub ended_leader: Option<i32>,
    /// What the process shares with its parent.
    pub sharing: Sharing,
    /// Whether the process leaves no zombie (`CLONE_AUTOREAP`).
    pub auto_reap: bool,
    /// The signal by which it is stopped (`SIGSTOP` and the like), and what has been reported to its parent.
    pub stopped: Option<(i32, StopReported)>,
    /// The start time of the process.
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
        let threads = count(self.threads.len() as u64, "thread", "threads");
        let state = match (self.zombie, self.stopped) {
            (Some(status), _) => format!("ended with status {status:#x}"),
            (None, Some((signal, _))) => format!("{threads}, stopped by signal {signal}"),
            (None, None) if self.ended_leader.is_some() => {
                format!("{threads}, of which the first has ended")
            }
            (None, None) => threads,
        };
        format!(
            "pid {}, group {}, session {}, {state}",
            self.pid, self.pgid, self.sid
        )
    }
}

impl Kind for Member {
    type Source = OfTree;
}

impl TreeKind for Member {
    fn capture(kinds: Kinds, cx: &mut Capture<'_>) -> Result<()> {
        super::capture(kinds, cx)
    }

    fn plan(kinds: Kinds, cx: &mut PlanCx<'_>) -> Result<()> {
        super::check_owners(kinds, cx.image)?;
        plan::plan(cx)
    }
}

impl Member {
    /// Returns the `clone` flags with which the process is created.
    fn flags(&self) -> u64 {
        let auto_reap = if self.auto_reap { CLONE_AUTOREAP } else { 0 };
        self.sharing.flags() | auto_reap
    }
}

/// Captures the identity of a process; a zombie has no view.
///
/// # Errors
///
/// If something breaks.
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
        pgid: stat.int(5),
        sid: stat.int(6),
        exit_signal: stat.int(38),
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
    capture.image.add(process.id, member)?;
    if view.is_none() || process.ended_leader.is_some() {
        let name = Name::new(stat.comm);
        capture.image.add(process.id, name)?;
    }
    Ok(())
}

/// Returns what the parent of a stopped process knows of the stop. The exit code (field 52) is the signal until the
/// parent has waited for it (kernel/exit.c:wait_task_stopped).
fn heard(process: &FrozenProcess) -> Result<StopReported> {
    let stat = crust_proc::stat(&process.proc, process.pid, "stat")?;
    Ok(match stat.field(52) {
        0 => StopReported::Status,
        _ => StopReported::Signal,
    })
}

/// Refuses process groups and sessions that this kernel could not restore.
///
/// # Errors
///
/// If something breaks.
pub fn check(capture: &mut Capture<'_>) -> Result<()> {
    if capture.hooks.features().set_ids {
        return Ok(());
    }
    let members = members(&capture.image)?;
    let outside = outer(&members).filter(|_| capture.options.shell_job);
    for problem in session_replay::replay(&places_of(&members), outside)
        .err()
        .unwrap_or_default()
    {
        let pid = members[problem.process].pid;
        let remedy = if outer(&members).is_some() && !capture.options.shell_job {
            "dump and restore with --shell-job, or start the program with setsid"
        } else {
            USE_THE_MODULE
        };
        let why = format!(
            "{}: this kernel cannot put a restored process into it",
            problem.why
        );
        capture
            .refusals
            .block(pid, "session", problem.object, why, remedy);
    }
    Ok(())
}

/// Returns all processes of an image, in the order of their numbers.
///
/// # Errors
///
/// If a process is missing, or precedes its parent.
pub fn members(image: &Image) -> Result<Vec<&Member>> {
    let mut members = Vec::new();
    for (owner, member) in image.all::<Member>() {
        let id = index::number(members.len());
        let orphan = match member.parent {
            None => id != 0,
            Some(parent) => parent >= id,
        };
        if owner != ProcessId(id).into() || orphan {
            return Err(Error::malformed(
                format!("process {}", owner.number),
                "the tree is not whole",
            ));
        }
        members.push(member);
    }
    Ok(members)
}

/// Returns the thread id of a task for use in messages; 0 if there is no such task.
pub(crate) fn number(image: &Image, task: TaskId) -> i32 {
    image
        .get::<Member>(task.process)
        .and_then(|member| member.threads.get(task.thread as usize).copied())
        .unwrap_or(0)
}

/// Returns the session of the shell to which a job belongs.
///
/// # Errors
///
/// The same as [`members`].
pub fn session_of_shell(image: &Image) -> Result<Option<i32>> {
    Ok(outer(&members(image)?).map(|(_, sid)| sid))
}

/// Returns the process groups and sessions whose leaders are not in the tree, except those of one session.
///
/// # Errors
///
/// The same as [`members`].
pub fn groups_without_leader(image: &Image, but_for: Option<i32>) -> Result<BTreeSet<i32>> {
    let members = members(image)?;
    let pids: BTreeSet<i32> = members.iter().map(|member| member.pid).collect();
    let groups = members.iter().filter(|member| but_for != Some(member.sid));
    Ok(groups
        .flat_map(|member| [member.pgid, member.sid])
        .filter(|pgid| !pids.contains(pgid))
        .collect())
}

/// Returns the process group and session of the root if the session leader is not in the tree, as in a shell job.
fn outer(members: &[impl Borrow<Member>]) -> Option<(i32, i32)> {
    let root: &Member = members.first()?.borrow();
    let mut members = members.iter().map(Borrow::borrow);
    let inside = members.any(|member| member.pid == root.sid);
    (!inside).then_some((root.pgid, root.sid))
}

/// Returns the process group of a shell job that is to be the foreground group of the terminal: the one that was, if it
/// belongs to the job, else that of the root. `None` if the job did not create that group itself.
///
/// # Errors
///
/// If the image is inconsistent.
pub fn job(image: &Image, had_terminal: Option<i32>) -> Result<Option<i32>> {
    let members = members(image)?;
    let Some((root, sid)) = outer(&members) else {
        return Ok(None);
    };
    let is_ours = |group: &i32| {
        let mut of_session = members.iter().filter(|member| member.sid == sid);
        of_session.any(|member| member.pid == *group && member.pgid == *group)
    };
    Ok(had_terminal.filter(is_ours).or(Some(root).filter(is_ours)))
}

fn places_of(members: &[impl Borrow<Member>]) -> Vec<Place> {
    let place = |member: &Member| Place {
        pid: member.pid,
        parent: member.parent.map(|parent| parent as usize),
        pgid: member.pgid,
        sid: member.sid,
    };
    members.iter().map(Borrow::borrow).map(place).collect()
}
