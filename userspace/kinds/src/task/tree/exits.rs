// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Processes that have exited or stopped, and what was reported to their parents.

use std::collections::{BTreeMap, BTreeSet};

use crust_model::plan::{Call, Data, ProcessId, Stage, StayStopped, Step, StopReported};
use crust_sys::signal::{self, bit};

use super::Member;
use crate::plan_context::PlanCx;
use crate::task::session_replay::{self, Place};
use crate::task::{actions, pending};

/// Plans which processes stay stopped.
pub(super) fn stops(members: &[Member], places: &[Place], cx: &mut PlanCx<'_>) {
    let stopped: BTreeMap<u32, (i32, StopReported)> = (0..)
        .zip(members)
        .filter(|(_, member)| member.zombie.is_none())
        .filter_map(|(id, member)| Some((id, member.stopped?)))
        .collect();
    if stopped.is_empty() {
        return;
    }
    let has_job_control = session_replay::kept_groups(places);
    let mut handled = BTreeSet::new();
    for (owner, actions) in cx.image.all::<actions::Actions>() {
        if let Some((signal, _)) = stopped.get(&owner.number) {
            if !actions.is_default(*signal) {
                handled.insert(owner.number);
            }
        }
    }
    let mut told = BTreeSet::new();
    for (owner, pending) in cx.image.all::<pending::Shared>() {
        let mut signals = pending.signals.iter();
        if signals.any(|info| info.signal() == libc::SIGCHLD) {
            told.insert(owner.number);
        }
    }
    for (id, (by, reported)) in stopped {
        let member = &members[id as usize];
        // A process can stop itself by a signal that it does not handle, if its group is not orphaned.
        let can = !handled.contains(&id) && has_job_control.contains(&member.pgid);
        let signal = if can { by } else { libc::SIGSTOP };
        if signal != by && reported != StopReported::Status && member.parent.is_some() {
            cx.refusals.lose(
                member.pid,
                "stop-signal",
                "stopped process",
                format!(
                    "its parent will be told that signal {signal} has stopped it, and not {by}"
                ),
                "nothing needs to be done, unless the parent looks at the signal",
            );
        }
        let parent = member.parent.unwrap_or(id);
        let stop = StayStopped {
            signal,
            parent: ProcessId(parent),
            reported: if member.parent.is_some() {
                reported
            } else {
                StopReported::Nothing
            },
            signal_waits: told.contains(&parent),
        };
        let task = cx.survivor(ProcessId(id));
        let step = Step::StayStopped(stop);
        cx.plan.step(Stage::Resume, task, step);
    }
}

/// Plans to discard the signals that recreated zombies send to their parents, who got them before the dump. A signal
/// that was still pending at the dump stays.
pub(super) fn zombies(members: &[Member], cx: &mut PlanCx<'_>) {
    let mut ended: BTreeMap<u32, u64> = BTreeMap::new();
    for member in members.iter().filter(|member| member.zombie.is_some()) {
        if let Some(parent) = member.parent.filter(|_| member.exit_signal > 0) {
            *ended.entry(parent).or_default() |= bit(member.exit_signal);
        }
    }
    if ended.is_empty() {
        return;
    }
    for (owner, pending) in cx.image.all::<pending::Shared>() {
        if let Some(told) = ended.get_mut(&owner.number) {
            for info in &pending.signals {
                *told &= !bit(info.signal());
            }
        }
    }
    for (parent, told) in ended.into_iter().filter(|(_, told)| *told != 0) {
        let args = [
            Data::words(&[told]).into(),
            0.into(),
            Data::words(&[0, 0]).into(),
            signal::SET_SIZE.into(),
        ];
        // If the process does not block the signal, it may be gone already.
        let call = Call::new(
            "forget the end of its zombies",
            libc::SYS_rt_sigtimedwait,
            args,
        );
        let task = cx.survivor(ProcessId(parent));
        cx.plan.call(Stage::Resume, task, call.may_fail());
    }
}
