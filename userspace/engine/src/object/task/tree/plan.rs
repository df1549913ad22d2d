// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How a tree is made again: births, groups and sessions, ends.

use std::collections::{BTreeMap, BTreeSet};

use crust_sys::signal::bit;

use super::{Member, members, outer, places};
use crate::object::State;
use crate::object::task::order::{self, Place};
use crate::object::task::started::Started;
use crate::object::task::{actions, pending, slack};
use crate::plan::{Call, Data, Heard, ProcessId, Stage, StayStopped, Step, TaskId};
use crate::resolve::Resolve;
use crate::{Error, Result};

/// Plans all processes and threads, their groups and sessions, their ends.
///
/// # Errors
///
/// What in the image makes no sense.
pub fn plan(resolve: &mut Resolve<'_>) -> Result<()> {
    let mut members = members(resolve.records)?;
    let Some(root) = members.first() else {
        return Err(Error::malformed("image", "holds no process"));
    };
    let root_pid = root.pid;
    let mut inherited = None;
    if let Some(outer) = outer(&members).filter(|_| resolve.options.shell_job) {
        let (sid, pgid) = resolve.caller;
        inherited = Some((pgid, sid));
        for member in members.iter_mut().filter(|member| member.sid == outer.1) {
            member.sid = sid;
            if member.pgid == outer.0 {
                member.pgid = pgid;
            }
        }
    }
    let places = places(&members);
    let before = if resolve.abilities.set_ids {
        vec![false; members.len()]
    } else {
        order::replay(&places, inherited).unwrap_or_else(|problems| {
            for problem in problems {
                resolve.refusals.block(
                    members[problem.process].pid,
                    problem.object,
                    format!("{}, which this kernel cannot restore", problem.why),
                    "load the module",
                );
            }
            vec![false; members.len()]
        })
    };
    if !resolve.abilities.set_start {
        resolve.refusals.lose(
            root_pid,
            "start time",
            "on this kernel the processes begin now: their start times in /proc/PID/stat are new",
            "load the module",
        );
    }
    spawn(&members, &before, resolve)?;
    place(&places, inherited, resolve);
    for (member, id) in members.iter().zip(0..) {
        finish(member, ProcessId(id), resolve);
    }
    stops(&members, &places, resolve)?;
    zombies(&members, resolve)
}

/// Makes processes and threads, each with the timer slack of its creator as its default.
fn spawn(members: &[Member], before: &[bool], resolve: &mut Resolve<'_>) -> Result<()> {
    let mut defaults = BTreeMap::new();
    for record in resolve.of_tag(slack::Slack::TAG) {
        let task = TaskId {
            process: ProcessId(record.owner),
            thread: record.part,
        };
        defaults.insert(task, slack::Slack::from_record(record)?.default);
    }
    let default = |task: TaskId| defaults.get(&task).copied().unwrap_or(slack::USUAL);
    let root = ProcessId(0).leader();
    if default(root) != slack::USUAL {
        resolve.refusals.lose(
            members[0].pid,
            "default timer slack",
            "that of the root is inherited from crust",
            "",
        );
    }
    let mut children = vec![Vec::new(); members.len()];
    for (child, member) in members.iter().enumerate() {
        if let Some(parent) = member.parent {
            children[parent as usize].push(child);
        }
    }
    let child = |id: usize| {
        let child = ProcessId(id as u32);
        let step = Step::SpawnChild {
            child,
            pid: vec![members[id].pid],
            exit_signal: members[id].exit_signal,
        };
        (child.leader(), step)
    };
    // The root has no parent that could make it: this is for the executor.
    resolve.plan.step(Stage::Spawn, root, child(0).1);
    for (id, member) in members.iter().enumerate() {
        let task = ProcessId(id as u32).leader();
        let mut slack = if id == 0 { slack::USUAL } else { default(task) };
        let mut make = |stage, (new, step): (TaskId, Step), resolve: &mut Resolve<'_>| {
            if slack != default(new) {
                slack = default(new);
                resolve.plan.call(stage, task, slack::set(slack));
            }
            resolve.plan.step(stage, task, step);
        };
        let (early, late): (Vec<_>, Vec<_>) = children[id].iter().partition(|&&id| before[id]);
        for id in early {
            make(Stage::Spawn, child(id), resolve);
        }
        if member.sid == member.pid && !resolve.abilities.set_ids {
            let call = Call::new("session: lead a new one", libc::SYS_setsid, []);
            let call = call.returns(member.pid as u64);
            resolve.plan.call(Stage::Spawn, task, call);
        }
        for id in late {
            make(Stage::Spawn, child(id), resolve);
        }
        for (thread, tid) in (1..).zip(member.threads.iter().skip(1)) {
            let thread = TaskId { thread, ..task };
            let step = Step::SpawnThread {
                thread,
                tid: vec![*tid],
            };
            make(Stage::Threads, (thread, step), resolve);
        }
        if slack != slack::USUAL && !defaults.contains_key(&task) {
            resolve
                .plan
                .call(Stage::Attributes, task, slack::set(slack::USUAL));
        }
    }
    Ok(())
}

/// Puts processes into their groups and sessions.
fn place(places: &[Place], inherited: Option<(i32, i32)>, resolve: &mut Resolve<'_>) {
    for (place, id) in places.iter().zip(0..) {
        let Place { pid, pgid, sid, .. } = *place;
        if inherited == Some((pgid, sid)) {
            continue;
        }
        let task = ProcessId(id).leader();
        if resolve.abilities.set_ids {
            let stage = if sid == pid {
                Stage::Leaders
            } else {
                Stage::Members
            };
            resolve.plan.step(stage, task, Step::SetIds { pgid, sid });
        } else if sid != pid {
            // A session leader is in its own group already.
            let stage = if pgid == pid {
                Stage::Leaders
            } else {
                Stage::Members
            };
            let args = [0.into(), pgid.into()];
            let call = Call::new(
                format!("join process group {pgid}"),
                libc::SYS_setpgid,
                args,
            );
            resolve.plan.call(stage, task, call);
        }
    }
}

fn finish(member: &Member, process: ProcessId, resolve: &mut Resolve<'_>) {
    let leader = process.leader();
    let started = Started {
        monotonic: member.start_time,
        boottime: member.start_boottime,
    };
    started.set(Stage::Members, leader, resolve);
    if let Some(status) = member.zombie {
        resolve
            .plan
            .step(Stage::Exit, leader, Step::Exit { status });
    }
}

/// Plans which processes stay stopped.
fn stops(members: &[Member], places: &[Place], resolve: &mut Resolve<'_>) -> Result<()> {
    let stopped: BTreeMap<u32, (i32, Heard)> = (0..)
        .zip(members)
        .filter(|(_, member)| member.zombie.is_none())
        .filter_map(|(id, member)| Some((id, member.stopped?)))
        .collect();
    if stopped.is_empty() {
        return Ok(());
    }
    let has_job_control = order::kept_groups(places);
    let mut handled = BTreeSet::new();
    for record in resolve.of_tag(actions::Actions::TAG) {
        if let Some((signal, _)) = stopped.get(&record.owner) {
            if !actions::Actions::from_record(record)?.is_default(*signal) {
                handled.insert(record.owner);
            }
        }
    }
    let mut told = BTreeSet::new();
    for record in resolve.of_tag(pending::Shared::TAG) {
        let signals = pending::Shared::from_record(record)?.signals;
        if signals.iter().any(|info| info.signal() == libc::SIGCHLD) {
            told.insert(record.owner);
        }
    }
    for (id, (by, heard)) in stopped {
        let member = &members[id as usize];
        // A process of its own accord stops by a signal that it does not handle, if a shell can let it go on.
        let can = !handled.contains(&id) && has_job_control.contains(&member.pgid);
        let signal = if can { by } else { libc::SIGSTOP };
        if signal != by && heard != Heard::Status && member.parent.is_some() {
            resolve.refusals.lose(
                member.pid,
                "stopped process",
                format!("its parent will hear that signal {signal} has stopped it, and not {by}"),
                "",
            );
        }
        let parent = member.parent.unwrap_or(id);
        let stop = StayStopped {
            signal,
            parent: ProcessId(parent),
            heard: if member.parent.is_some() {
                heard
            } else {
                Heard::Nothing
            },
            signal_waits: told.contains(&parent),
        };
        let leader = ProcessId(id).leader();
        resolve
            .plan
            .step(Stage::Resume, leader, Step::StayStopped(stop));
    }
    Ok(())
}

/// The ends of zombies tell their parents, who were told before: unless it was still waiting, the
/// signal is taken away.
fn zombies(members: &[Member], resolve: &mut Resolve<'_>) -> Result<()> {
    let mut ended: BTreeMap<u32, u64> = BTreeMap::new();
    for member in members.iter().filter(|member| member.zombie.is_some()) {
        if let Some(parent) = member.parent.filter(|_| member.exit_signal > 0) {
            *ended.entry(parent).or_default() |= bit(member.exit_signal);
        }
    }
    if ended.is_empty() {
        return Ok(());
    }
    for record in resolve.of_tag(pending::Shared::TAG) {
        if let Some(told) = ended.get_mut(&record.owner) {
            for info in pending::Shared::from_record(record)?.signals {
                *told &= !bit(info.signal());
            }
        }
    }
    for (parent, told) in ended.into_iter().filter(|(_, told)| *told != 0) {
        let args = [
            Data::words(&[told]).into(),
            0.into(),
            Data::words(&[0, 0]).into(),
            actions::SET_SIZE.into(),
        ];
        // If the process does not block it, the signal may have gone already.
        let call = Call::new(
            "forget the end of its zombies",
            libc::SYS_rt_sigtimedwait,
            args,
        );
        let leader = ProcessId(parent).leader();
        resolve.plan.call(Stage::Resume, leader, call.whatever());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::Abilities;
    use crate::plan::Plan;
    use crate::refusal::Refusals;
    use crate::resolve::RestoreOptions;

    fn member(pid: i32, parent: Option<u32>, pgid: i32, sid: i32) -> Member {
        Member {
            pid,
            parent,
            threads: vec![pid],
            pgid,
            sid,
            exit_signal: libc::SIGCHLD,
            zombie: None,
            stopped: None,
            start_time: 1,
            start_boottime: 2,
        }
    }

    /// The steps of a stage, in words, and whether the restore is refused.
    fn planned(members: &[Member], abilities: Abilities, stage: Stage) -> (Vec<String>, bool) {
        let records: Vec<_> = (0..)
            .zip(members)
            .map(|(id, member)| member.record(id, 0).unwrap())
            .collect();
        let mut resolve = Resolve {
            records: &records,
            abilities,
            options: &RestoreOptions::default(),
            caller: (1, 1),
            plan: Plan::default(),
            refusals: Refusals::default(),
            timers: std::collections::HashMap::new(),
        };
        plan(&mut resolve).unwrap();
        let words = |step: &Step| match step {
            Step::Call(call) => call.what.clone(),
            Step::SpawnChild { child, pid, .. } => format!("make {child} {pid:?}"),
            Step::SetIds { pgid, sid } => format!("ids {pgid} {sid}"),
            other => format!("{other:?}"),
        };
        let steps = resolve.plan.stages.remove(&stage).unwrap_or_default();
        let lines = steps
            .iter()
            .flat_map(|(task, steps)| {
                steps
                    .iter()
                    .map(move |step| format!("{task} {}", words(step)))
            })
            .collect();
        (lines, resolve.refusals.forbid())
    }

    /// A leader with a child that it left behind in its parent's session.
    fn late_leader() -> [Member; 4] {
        [
            member(10, None, 10, 10),
            member(11, Some(0), 11, 11),
            member(12, Some(1), 10, 10),
            member(13, Some(1), 13, 11),
        ]
    }

    #[test]
    fn without_the_module_sessions_are_replayed() {
        let (spawn, refused) = planned(&late_leader(), Abilities::default(), Stage::Spawn);
        assert!(!refused);
        assert_eq!(
            spawn,
            [
                "p0.0 make p0 [10]",
                "p0.0 session: lead a new one",
                "p0.0 make p1 [11]",
                "p1.0 make p2 [12]",
                "p1.0 session: lead a new one",
                "p1.0 make p3 [13]",
            ]
        );
        let (leaders, _) = planned(&late_leader(), Abilities::default(), Stage::Leaders);
        assert_eq!(leaders, ["p3.0 join process group 13"]);
    }

    #[test]
    fn with_the_module_everybody_is_put_where_it_was() {
        let module = Abilities {
            set_pid: true,
            set_ids: true,
            set_start: true,
            read_only: true,
        };
        let mut members = late_leader();
        // A session and a group of nobody in the tree.
        members[2].sid = 77;
        members[2].pgid = 78;
        let (leaders, refused) = planned(&members, module, Stage::Leaders);
        assert!(!refused);
        assert_eq!(leaders, ["p0.0 ids 10 10", "p1.0 ids 11 11"]);
        let (others, _) = planned(&members, module, Stage::Members);
        assert!(others.contains(&"p2.0 ids 78 77".to_owned()), "{others:?}");
        let (_, refused) = planned(&members, Abilities::default(), Stage::Spawn);
        assert!(refused);
    }

    #[test]
    fn a_tree_with_a_hole_is_refused() {
        let records = [member(10, None, 10, 10).record(1, 0).unwrap()];
        assert!(members(&records).is_err());
    }
}
