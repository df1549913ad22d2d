// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How a tree is made again: births, groups and sessions, ends.

use std::collections::{BTreeMap, BTreeSet};

use crust_sys::signal::bit;

use super::{Member, members, outer, places};
use crate::object::State;
use crate::object::task::order::{self, Place, Replay};
use crate::object::task::seccomp::order::Act;
use crate::object::task::seccomp::{self, Seccomp};
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
        let leads_group = members.iter().any(|member| member.pid == outer.0);
        for member in members.iter_mut().filter(|member| member.sid == outer.1) {
            member.sid = sid;
            // A job that is a group of its own stays one: a shell below the shell knows its number.
            if member.pgid == outer.0 && !leads_group {
                member.pgid = pgid;
            }
        }
    }
    let places = places(&members);
    let anyhow = || Replay {
        before: vec![false; members.len()],
        ..Replay::default()
    };
    let replay = if resolve.abilities.set_ids {
        anyhow()
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
            anyhow()
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
    for (member, id) in members.iter().zip(0..) {
        if member.ended_leader.is_some() {
            let first = TaskId {
                thread: 1,
                ..ProcessId(id).leader()
            };
            resolve.survivors.insert(ProcessId(id), first);
        }
    }
    spawn(&members, &replay, resolve)?;
    groups(&replay, members.len() + replay.fosters.len(), resolve);
    place(&places, inherited, &replay.left, resolve);
    for (member, id) in members.iter().zip(0..) {
        finish(member, ProcessId(id), resolve);
    }
    stops(&members, &places, resolve)?;
    zombies(&members, resolve)
}

/// Makes processes and threads, each with the timer slack of its creator as its default.
fn spawn(members: &[Member], replay: &Replay, resolve: &mut Resolve<'_>) -> Result<()> {
    let mut defaults = BTreeMap::new();
    for record in resolve.of_tag(slack::Slack::TAG) {
        let task = TaskId {
            process: ProcessId(record.owner),
            thread: record.part,
        };
        defaults.insert(task, slack::Slack::from_record(record)?.default);
    }
    let mut filters = BTreeMap::new();
    for record in resolve.of_tag(Seccomp::TAG) {
        filters.insert(record.owner, Seccomp::from_record(record)?);
    }
    for owner in filters.keys() {
        let member = members.get(*owner as usize);
        Seccomp::check(member.map_or(0, |member| member.pid), resolve);
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
    let orphans: BTreeSet<usize> = replay
        .fosters
        .iter()
        .flat_map(|foster| &foster.children)
        .copied()
        .collect();
    for (child, member) in members.iter().enumerate() {
        if let Some(parent) = member.parent.filter(|_| !orphans.contains(&child)) {
            children[parent as usize].push(child);
        }
    }
    let child = |id: usize| {
        let child = ProcessId(id as u32);
        let step = Step::SpawnChild {
            child,
            pid: vec![members[id].pid],
            exit_signal: members[id].exit_signal,
            flags: members[id].flags(),
        };
        (child.leader(), step)
    };
    // The root has no parent that could make it: this is for the executor.
    resolve.plan.step(Stage::Spawn, root, child(0).1);
    let adopters: BTreeSet<usize> = replay.fosters.iter().map(|foster| foster.adopter).collect();
    for &adopter in &adopters {
        let task = ProcessId(adopter as u32).leader();
        resolve.plan.call(Stage::Spawn, task, adopts(true));
        resolve.plan.call(Stage::Members, task, adopts(false));
    }
    for (id, member) in members.iter().enumerate() {
        let task = ProcessId(id as u32).leader();
        let mut slack = if id == 0 { slack::USUAL } else { default(task) };
        let mut make = |(new, step): (TaskId, Step), resolve: &mut Resolve<'_>| {
            give_slack(&mut slack, default(new), Stage::Spawn, task, resolve);
            resolve.plan.step(Stage::Spawn, task, step);
        };
        let (early, late): (Vec<_>, Vec<_>) =
            children[id].iter().partition(|&&id| replay.before[id]);
        for id in early {
            make(child(id), resolve);
        }
        if member.sid == member.pid && !resolve.abilities.set_ids {
            let call = Call::new("session: lead a new one", libc::SYS_setsid, []);
            let call = call.returns(member.pid as u64);
            resolve.plan.call(Stage::Spawn, task, call);
        }
        for id in late {
            make(child(id), resolve);
        }
        let mut slacks = BTreeMap::from([(task, slack)]);
        for (by, act) in threads(member, filters.get(&(id as u32)))? {
            let by = TaskId { thread: by, ..task };
            match act {
                Act::Install(filter) => {
                    let filter = filters[&(id as u32)].filter(filter)?;
                    resolve.plan.call(Stage::Threads, by, filter.install());
                }
                Act::Make(thread) => {
                    let tid = vec![member.threads[thread as usize]];
                    let thread = TaskId { thread, ..task };
                    let slack = slacks.entry(by).or_insert_with(|| default(by));
                    give_slack(slack, default(thread), Stage::Threads, by, resolve);
                    let step = Step::SpawnThread { thread, tid };
                    resolve.plan.step(Stage::Threads, by, step);
                }
            }
        }
        for (task, slack) in slacks {
            if !defaults.contains_key(&task) {
                give_slack(
                    &mut { slack },
                    slack::USUAL,
                    Stage::Attributes,
                    task,
                    resolve,
                );
            }
        }
    }
    for (foster, number) in replay.fosters.iter().zip(members.len()..) {
        let maker = foster.leader.unwrap_or(foster.adopter);
        let (maker, itself) = (ProcessId(maker as u32), ProcessId(number as u32));
        let leads = foster.leader.is_none();
        let birth = Step::SpawnChild {
            child: itself,
            pid: if leads { vec![foster.session] } else { vec![] },
            exit_signal: 0,
            flags: 0,
        };
        resolve.plan.step(Stage::Spawn, maker.leader(), birth);
        if leads {
            let call = Call::new("session: lead a new one", libc::SYS_setsid, []);
            let call = call.returns(foster.session as u64);
            resolve.plan.call(Stage::Spawn, itself.leader(), call);
        }
        for &id in &foster.children {
            let (new, step) = child(id);
            let call = slack::set(default(new));
            resolve.plan.call(Stage::Spawn, itself.leader(), call);
            resolve.plan.step(Stage::Spawn, itself.leader(), step);
        }
        let end = Step::Dismiss { child: itself };
        resolve.plan.step(Stage::Leaders, maker.leader(), end);
    }
    Ok(())
}

/// Who makes the threads of a process, and installs their filters meanwhile.
fn threads(member: &Member, filters: Option<&Seccomp>) -> Result<Vec<(u32, Act)>> {
    let Some(filters) = filters else {
        let others = 1..member.threads.len() as u32;
        return Ok(others.map(|thread| (0, Act::Make(thread))).collect());
    };
    let chains = filters.chains();
    if chains.len() != member.threads.len() {
        return Err(Error::malformed(
            format!("process {}", member.pid),
            "it has filters of other threads than it has",
        ));
    }
    Ok(seccomp::order::order(&chains))
}

/// Changes the timer slack of a task, if it has another one.
fn give_slack(slack: &mut u64, wanted: u64, stage: Stage, task: TaskId, resolve: &mut Resolve<'_>) {
    if *slack != wanted {
        *slack = wanted;
        resolve.plan.call(stage, task, slack::set(wanted));
    }
}

/// Has a process adopt orphans, or no more.
fn adopts(it_does: bool) -> Call {
    let args = [
        libc::PR_SET_CHILD_SUBREAPER.into(),
        u64::from(it_does).into(),
        0.into(),
        0.into(),
        0.into(),
    ];
    Call::new("adopt orphans", libc::SYS_prctl, args)
}

/// Makes the groups whose makers are elsewhere, or dead: then others take their places until all have joined.
fn groups(replay: &Replay, processes: usize, resolve: &mut Resolve<'_>) {
    let join = |process: i32, group: i32| {
        Call::new(
            format!("make process group {group}"),
            libc::SYS_setpgid,
            [process.into(), group.into()],
        )
    };
    for &(group, maker) in &replay.left {
        let maker = ProcessId(maker as u32).leader();
        resolve.plan.call(Stage::Leaders, maker, join(0, group));
    }
    for (&(group, member), number) in replay.orphaned.iter().zip(processes..) {
        let task = ProcessId(member as u32).leader();
        let child = ProcessId(number as u32);
        let birth = Step::SpawnChild {
            child,
            pid: vec![group],
            exit_signal: 0,
            flags: 0,
        };
        resolve.plan.step(Stage::Leaders, task, birth);
        let call = join(group, group);
        resolve.plan.call(Stage::Leaders, task, call);
        resolve
            .plan
            .step(Stage::ShareFiles, task, Step::Dismiss { child });
    }
}

/// Puts processes into their groups and sessions; those that made another group before go to theirs last.
fn place(
    places: &[Place],
    inherited: Option<(i32, i32)>,
    left: &[(i32, usize)],
    resolve: &mut Resolve<'_>,
) {
    let late: BTreeSet<usize> = left.iter().map(|&(_, maker)| maker).collect();
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
            } else if late.contains(&(id as usize)) {
                Stage::CreateFiles
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
    } else if let Some(status) = member.ended_leader {
        let step = Step::ExitLeader { status };
        resolve.plan.step(Stage::Exit, leader, step);
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
        let task = resolve.survivor(ProcessId(id));
        let step = Step::StayStopped(stop);
        resolve.plan.step(Stage::Resume, task, step);
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
        let task = resolve.survivor(ProcessId(parent));
        resolve.plan.call(Stage::Resume, task, call.whatever());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::Abilities;
    use crate::object::task::sharing::Sharing;
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
            ended_leader: None,
            stopped: None,
            sharing: Sharing::default(),
            auto_reap: false,
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
        planned_of(&records, abilities, stage)
    }

    fn planned_of(
        records: &[crust_image::Record],
        abilities: Abilities,
        stage: Stage,
    ) -> (Vec<String>, bool) {
        let mut resolve = Resolve {
            records,
            abilities,
            options: &RestoreOptions::default(),
            caller: (1, 1),
            survivors: std::collections::BTreeMap::new(),
            plan: Plan::default(),
            refusals: Refusals::default(),
            timers: std::collections::HashMap::new(),
        };
        plan(&mut resolve).unwrap();
        let words = |step: &Step| match step {
            Step::Call(call) => call.what.clone(),
            Step::SpawnChild { child, pid, .. } => format!("make {child} {pid:?}"),
            Step::SetIds { pgid, sid } => format!("ids {pgid} {sid}"),
            Step::SpawnThread { thread, tid } => format!("make {thread} {tid:?}"),
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
            add_usage: true,
            read_only: true,
            ..Abilities::default()
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
        // Without it, others stand in for the dead leaders.
        let (spawn, refused) = planned(&members, Abilities::default(), Stage::Spawn);
        assert!(!refused);
        let stands_in = ["p1.0 make p4 [77]", "p4.0 make p2 [12]"];
        assert!(
            stands_in
                .iter()
                .all(|line| spawn.contains(&(*line).to_owned())),
            "{spawn:?}"
        );
        let (leaders, _) = planned(&members, Abilities::default(), Stage::Leaders);
        assert!(
            leaders.contains(&"p2.0 make p5 [78]".to_owned()),
            "{leaders:?}"
        );
    }

    #[test]
    fn filters_are_installed_while_threads_are_made() {
        let member = Member {
            threads: vec![10, 11, 12, 13],
            ..member(10, None, 10, 10)
        };
        // The last two have one in common that the first has not.
        let seccomp = Seccomp::of_chains(&[&[0], &[], &[0, 1], &[0, 1, 2]]);
        let records = [member.record(0, 0).unwrap(), seccomp.record(0, 0).unwrap()];
        let may = crate::privileges::Privileges {
            effective: u64::MAX,
            knows_filters: true,
            ..Default::default()
        };
        let abilities = Abilities {
            own: may,
            ..Abilities::default()
        };
        let (steps, refused) = planned_of(&records, abilities, Stage::Threads);
        assert!(!refused);
        let install = "seccomp: install a filter of 1 instructions";
        assert_eq!(
            steps,
            [
                "p0.0 make p0.1 [11]".into(),
                format!("p0.0 {install}"),
                "p0.0 make p0.2 [12]".into(),
                format!("p0.2 {install}"),
                "p0.2 make p0.3 [13]".into(),
                format!("p0.3 {install}"),
            ]
        );
        let (_, refused) = planned_of(&records, Abilities::default(), Stage::Threads);
        assert!(refused);
    }

    #[test]
    fn a_tree_with_a_hole_is_refused() {
        let records = [member(10, None, 10, 10).record(1, 0).unwrap()];
        assert!(members(&records).is_err());
    }
}
