// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Creation of processes and threads: which task creates which others, and installs seccomp filters meanwhile;
//! processes that stand in for dead ones.

use std::collections::{BTreeMap, BTreeSet};

use crust_model::plan::{Call, ProcessId, Stage, Step, TaskId};
use crust_model::{Error, Result, index};
use crust_sys::word;

use super::Member;
use super::creators::NewProcess;
use crate::plan_context::PlanCx;
use crate::task::seccomp::order::Act;
use crate::task::seccomp::{self, Seccomp};
use crate::task::session_replay::SessionReplay;
use crate::task::timer_slack;

/// Plans the creation of processes and threads. The default timer slack of each is the current slack of its creator.
pub(super) fn spawn(members: &[Member], replay: &SessionReplay, cx: &mut PlanCx<'_>) -> Result<()> {
    let image = cx.image;
    let slacks = image.all::<timer_slack::Slack>();
    let defaults: BTreeMap<TaskId, u64> = slacks
        .map(|(owner, slack)| (owner.task(), slack.default))
        .collect();
    let filters: BTreeMap<ProcessId, &Seccomp> = image
        .all::<Seccomp>()
        .map(|(owner, filters)| (owner.process(), filters))
        .collect();
    for owner in filters.keys() {
        let member = members.get(owner.0 as usize);
        Seccomp::check(member.map_or(0, |member| member.pid), cx);
    }
    let default = |task: TaskId| defaults.get(&task).copied().unwrap_or(timer_slack::USUAL);
    let root = ProcessId(0).leader();
    if default(root) != timer_slack::USUAL {
        cx.refusals.lose(
            members[0].pid,
            "timer-slack",
            "default timer slack",
            "the root of the tree gets that of crust",
            "start crust with the timer slack of the program (PR_SET_TIMERSLACK)",
        );
    }
    let mut children = vec![Vec::new(); members.len()];
    let orphans: BTreeSet<usize> = replay
        .stand_ins
        .iter()
        .flat_map(|stand_in| &stand_in.children)
        .copied()
        .collect();
    for (child, member) in members.iter().enumerate() {
        if let Some(parent) = member.parent.filter(|_| !orphans.contains(&child)) {
            children[parent as usize].push(child);
        }
    }
    let child = |id: usize| NewProcess::of(&members[id], ProcessId::at(id));
    // The root has no parent that could create it: the executor does.
    child(0).create_root(cx);
    let adopters: BTreeSet<usize> = replay
        .stand_ins
        .iter()
        .map(|stand_in| stand_in.adopter)
        .collect();
    for &adopter in &adopters {
        let task = ProcessId::at(adopter).leader();
        cx.plan.call(Stage::Spawn, task, adopts(true));
        cx.plan.call(Stage::Members, task, adopts(false));
    }
    for (id, member) in members.iter().enumerate() {
        let task = ProcessId::at(id).leader();
        let mut slack = if id == 0 {
            timer_slack::USUAL
        } else {
            default(task)
        };
        let mut make = |new: NewProcess, cx: &mut PlanCx<'_>| {
            give_slack(&mut slack, default(new.id.leader()), Stage::Spawn, task, cx);
            new.create_by(task.process, Stage::Spawn, cx);
        };
        let (early, late): (Vec<_>, Vec<_>) =
            children[id].iter().partition(|&&id| replay.before[id]);
        for id in early {
            make(child(id), cx);
        }
        if member.sid == member.pid && !cx.features.set_ids {
            let call = Call::new("session: lead a new one", libc::SYS_setsid, []);
            let call = call.must_return(word::from_int(member.pid));
            cx.plan.call(Stage::Spawn, task, call);
        }
        for id in late {
            make(child(id), cx);
        }
        let mut slacks = BTreeMap::from([(task, slack)]);
        for (by, act) in threads(member, filters.get(&task.process).copied())? {
            let by = TaskId { thread: by, ..task };
            match act {
                Act::Install(filter) => {
                    let filter = filters[&task.process].filter(filter)?;
                    cx.plan.call(Stage::Threads, by, filter.install());
                }
                Act::Make(thread) => {
                    let tid = vec![member.threads[thread as usize]];
                    let thread = TaskId { thread, ..task };
                    let slack = slacks.entry(by).or_insert_with(|| default(by));
                    give_slack(slack, default(thread), Stage::Threads, by, cx);
                    let step = Step::SpawnThread { thread, tid };
                    cx.plan.step(Stage::Threads, by, step);
                }
            }
        }
        for (task, slack) in slacks {
            if !defaults.contains_key(&task) {
                give_slack(
                    &mut { slack },
                    timer_slack::USUAL,
                    Stage::Attributes,
                    task,
                    cx,
                );
            }
        }
    }
    for (stand_in, number) in replay.stand_ins.iter().zip(members.len()..) {
        let maker = stand_in.leader.unwrap_or(stand_in.adopter);
        let (maker, itself) = (ProcessId::at(maker), ProcessId::at(number));
        let leads = stand_in.leader.is_none();
        let pid = leads.then_some(stand_in.session);
        NewProcess::stand_in(itself, pid).create_by(maker, Stage::Spawn, cx);
        if leads {
            let call = Call::new("session: lead a new one", libc::SYS_setsid, []);
            let call = call.must_return(word::from_int(stand_in.session));
            cx.plan.call(Stage::Spawn, itself.leader(), call);
        }
        for &id in &stand_in.children {
            let new = child(id);
            let call = timer_slack::set(default(new.id.leader()));
            cx.plan.call(Stage::Spawn, itself.leader(), call);
            new.create_by(itself, Stage::Spawn, cx);
        }
        let end = Step::Dismiss { child: itself };
        cx.plan.step(Stage::Leaders, maker.leader(), end);
    }
    Ok(())
}

/// Returns which thread of a process creates which others, and installs their filters meanwhile.
fn threads(member: &Member, filters: Option<&Seccomp>) -> Result<Vec<(u32, Act)>> {
    let Some(filters) = filters else {
        let others = 1..index::number(member.threads.len());
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

/// Changes the timer slack of a task if it differs from `wanted`.
fn give_slack(slack: &mut u64, wanted: u64, stage: Stage, task: TaskId, cx: &mut PlanCx<'_>) {
    if *slack != wanted {
        *slack = wanted;
        cx.plan.call(stage, task, timer_slack::set(wanted));
    }
}

/// Returns the call that makes a process a subreaper, or ends that.
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
