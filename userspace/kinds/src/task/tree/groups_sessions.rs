// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Process groups and sessions: which processes create them, and when the others join.

use std::collections::BTreeSet;

use crust_model::plan::{Call, ProcessId, Stage, Step};

use super::creators::NewProcess;
use super::ids::SetIds;
use crate::plan_context::PlanCx;
use crate::task::session_replay::{Place, SessionReplay};

/// Plans the groups whose creators have moved to another group or are dead. In place of a dead creator another process
/// is created, which exits when all members have joined.
pub(super) fn groups(replay: &SessionReplay, processes: usize, cx: &mut PlanCx<'_>) {
    let join = |process: i32, group: i32| {
        Call::new(
            format!("make process group {group}"),
            libc::SYS_setpgid,
            [process.into(), group.into()],
        )
    };
    for &(group, maker) in &replay.left {
        let maker = ProcessId::at(maker).leader();
        cx.plan.call(Stage::Leaders, maker, join(0, group));
    }
    for (&(group, member), number) in replay.orphaned.iter().zip(processes..) {
        let member = ProcessId::at(member);
        let task = member.leader();
        let child = ProcessId::at(number);
        NewProcess::stand_in(child, Some(group)).create_by(member, Stage::Leaders, cx);
        let call = join(group, group);
        cx.plan.call(Stage::Leaders, task, call);
        cx.plan
            .step(Stage::ShareFiles, task, Step::Dismiss { child });
    }
}

/// Puts processes into their groups and sessions; those that created another group before move to their own last.
pub(super) fn place(
    places: &[Place],
    inherited: Option<(i32, i32)>,
    left: &[(i32, usize)],
    cx: &mut PlanCx<'_>,
) {
    let late: BTreeSet<usize> = left.iter().map(|&(_, maker)| maker).collect();
    let groups: BTreeSet<i32> = places.iter().map(|place| place.pgid).collect();
    for (place, id) in places.iter().zip(0..) {
        let Place { pid, pgid, sid, .. } = *place;
        if inherited == Some((pgid, sid)) {
            continue;
        }
        let task = ProcessId(id).leader();
        if cx.features.set_ids {
            // A session exists once its leader is in it, and a group once the process of its number is in it.
            let (stage, first) = if sid == pid {
                (Stage::Leaders, pgid)
            } else if groups.contains(&pid) {
                (Stage::Groups, pid)
            } else {
                (Stage::Members, pgid)
            };
            cx.plan.operate(stage, task, SetIds { pgid: first, sid });
            if first != pgid {
                let ids = SetIds { pgid, sid: 0 };
                cx.plan.operate(Stage::Members, task, ids);
            }
        } else if sid != pid {
            // A session leader is already in its own group.
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
            cx.plan.call(stage, task, call);
        }
    }
}
