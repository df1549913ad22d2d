// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Plans how a tree is recreated: [`spawn`] creates it, [`groups_sessions`] puts it into groups and sessions, [`exits`]
//! ends and stops processes.

use crust_model::plan::{ProcessId, Stage, Step, TaskId};
use crust_model::refusal::USE_THE_MODULE;
use crust_model::{Error, Result};

use super::{Member, exits, groups_sessions, members, outer, places_of, spawn};
use crate::plan_context::PlanCx;
use crate::task::session_replay::{self, SessionReplay};

/// Plans all processes and threads, their groups and sessions, and their exits.
///
/// # Errors
///
/// If the image is inconsistent.
pub fn plan(cx: &mut PlanCx<'_>) -> Result<()> {
    let members = members(cx.image)?;
    let mut members: Vec<Member> = members.into_iter().cloned().collect();
    if members.is_empty() {
        return Err(Error::malformed("image", "holds no process"));
    }
    let mut inherited = None;
    if let Some(outer) = outer(&members).filter(|_| cx.options.shell_job) {
        let (sid, pgid) = cx.caller;
        inherited = Some((pgid, sid));
        let leads_group = members.iter().any(|member| member.pid == outer.0);
        for member in members.iter_mut().filter(|member| member.sid == outer.1) {
            member.sid = sid;
            // A job that is a group of its own stays one: a shell below the caller's shell knows its number.
            if member.pgid == outer.0 && !leads_group {
                member.pgid = pgid;
            }
        }
    }
    let places = places_of(&members);
    let anyhow = || SessionReplay {
        before: vec![false; members.len()],
        ..SessionReplay::default()
    };
    let replay = if cx.features.set_ids {
        anyhow()
    } else {
        session_replay::replay(&places, inherited).unwrap_or_else(|problems| {
            for problem in problems {
                cx.refusals.block(
                    members[problem.process].pid,
                    "session",
                    problem.object,
                    format!(
                        "{}: this kernel cannot put a restored process into it",
                        problem.why
                    ),
                    USE_THE_MODULE,
                );
            }
            anyhow()
        })
    };
    if !cx.features.set_start {
        cx.refusals.lose_on_this_kernel(
            "start-time",
            "start time",
            "restored processes have new start times (/proc/PID/stat)",
        );
    }
    for (member, id) in members.iter().zip(0..) {
        if member.ended_leader.is_some() {
            let first = TaskId {
                thread: 1,
                ..ProcessId(id).leader()
            };
            cx.survivors.insert(ProcessId(id), first);
        }
    }
    spawn::spawn(&members, &replay, cx)?;
    groups_sessions::groups(&replay, members.len() + replay.stand_ins.len(), cx);
    groups_sessions::place(&places, inherited, &replay.left, cx);
    for (member, id) in members.iter().zip(0..) {
        finish(member, ProcessId(id), cx);
    }
    exits::stops(&members, &places, cx);
    exits::zombies(&members, cx);
    Ok(())
}

fn finish(member: &Member, process: ProcessId, cx: &mut PlanCx<'_>) {
    let leader = process.leader();
    member.started.set(Stage::Members, leader, cx);
    if let Some(status) = member.zombie {
        cx.plan.step(Stage::Exit, leader, Step::Exit { status });
    } else if let Some(status) = member.ended_leader {
        let step = Step::ExitLeader { status };
        cx.plan.step(Stage::Exit, leader, step);
    }
}

#[cfg(test)]
mod tests {
    use crust_hooks::KernelFeatures;
    use crust_model::image::Image;

    use super::*;
    use crate::plan_context::RestoreOptions;
    use crate::task::seccomp::Seccomp;
    use crate::task::sharing::Sharing;
    use crate::task::start_time::Started;

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
            started: Started(2),
        }
    }

    /// Returns the steps of a stage, in words, and whether the restore is refused.
    fn planned(members: &[Member], features: KernelFeatures, stage: Stage) -> (Vec<String>, bool) {
        let mut image = Image::default();
        for (id, member) in (0..).zip(members) {
            image.add(ProcessId(id), member.clone()).unwrap();
        }
        planned_of(&image, features, stage)
    }

    fn planned_of(image: &Image, features: KernelFeatures, stage: Stage) -> (Vec<String>, bool) {
        let options = RestoreOptions::default();
        let mut cx = PlanCx::new(image, features, &options, (1, 1));
        plan(&mut cx).unwrap();
        let words = |step: &Step| match step {
            Step::Call(call) => call.label.clone(),
            Step::SpawnChild { child, pid, .. } => format!("make {child} {pid:?}"),
            Step::SpawnThread { thread, tid } => format!("make {thread} {tid:?}"),
            Step::Operate(operation) => format!("{operation:?}"),
            other => format!("{other:?}"),
        };
        let steps = cx.plan.stages().get(&stage).cloned().unwrap_or_default();
        let lines = steps
            .iter()
            .flat_map(|(task, steps)| {
                steps
                    .iter()
                    .map(move |step| format!("{task} {}", words(step)))
            })
            .collect();
        (lines, cx.refusals.forbid())
    }

    /// Returns a tree with a session leader that left a child behind in its parent's session.
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
        let (root, refused) = planned(&late_leader(), KernelFeatures::default(), Stage::Root);
        assert!(!refused);
        assert_eq!(root, ["p0.0 make p0 [10]"]);
        let (spawn, _) = planned(&late_leader(), KernelFeatures::default(), Stage::Spawn);
        assert_eq!(
            spawn,
            [
                "p0.0 session: lead a new one",
                "p0.0 make p1 [11]",
                "p1.0 make p2 [12]",
                "p1.0 session: lead a new one",
                "p1.0 make p3 [13]",
            ]
        );
        let (leaders, _) = planned(&late_leader(), KernelFeatures::default(), Stage::Leaders);
        assert_eq!(leaders, ["p3.0 join process group 13"]);
    }

    #[test]
    fn with_the_module_everybody_is_put_where_it_was() {
        let module = KernelFeatures {
            set_pid: true,
            set_ids: true,
            set_start: true,
            add_usage: true,
            read_only: true,
            ..KernelFeatures::default()
        };
        let mut members = late_leader();
        // A session and a group whose leaders are not in the tree.
        members[2].sid = 77;
        members[2].pgid = 78;
        let (leaders, refused) = planned(&members, module, Stage::Leaders);
        assert!(!refused);
        assert_eq!(
            leaders,
            [
                "p0.0 SetIds { pgid: 10, sid: 10 }",
                "p1.0 SetIds { pgid: 11, sid: 11 }"
            ]
        );
        let (others, _) = planned(&members, module, Stage::Members);
        assert!(
            others.contains(&"p2.0 SetIds { pgid: 78, sid: 77 }".to_owned()),
            "{others:?}"
        );
        // Two processes in groups with each other's numbers: both join the session first.
        let mut crossed = late_leader();
        crossed[2] = member(12, Some(1), 13, 11);
        crossed[3] = member(13, Some(1), 12, 11);
        let (first, _) = planned(&crossed, module, Stage::Groups);
        assert_eq!(
            first,
            [
                "p2.0 SetIds { pgid: 12, sid: 11 }",
                "p3.0 SetIds { pgid: 13, sid: 11 }"
            ]
        );
        let (then, _) = planned(&crossed, module, Stage::Members);
        assert!(
            then.contains(&"p2.0 SetIds { pgid: 13, sid: 0 }".to_owned()),
            "{then:?}"
        );
        // Without the module, others stand in for the dead leaders.
        let (spawn, refused) = planned(&members, KernelFeatures::default(), Stage::Spawn);
        assert!(!refused);
        let stands_in = ["p1.0 make p4 [77]", "p4.0 make p2 [12]"];
        assert!(
            stands_in
                .iter()
                .all(|line| spawn.contains(&(*line).to_owned())),
            "{spawn:?}"
        );
        let (leaders, _) = planned(&members, KernelFeatures::default(), Stage::Leaders);
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
        // The last two have a filter in common that the first does not have.
        let seccomp = Seccomp::of_chains(&[&[0], &[], &[0, 1], &[0, 1, 2]]);
        let mut image = Image::default();
        image.add(ProcessId(0), member).unwrap();
        image.add(ProcessId(0), seccomp).unwrap();
        let may = crust_tracee::privileges::Privileges {
            effective: u64::MAX,
            knows_filters: true,
            ..Default::default()
        };
        let features = KernelFeatures {
            own: may,
            ..KernelFeatures::default()
        };
        let (steps, refused) = planned_of(&image, features, Stage::Threads);
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
        let (_, refused) = planned_of(&image, KernelFeatures::default(), Stage::Threads);
        assert!(refused);
    }

    #[test]
    fn a_tree_with_a_hole_is_refused() {
        let mut image = Image::default();
        image.add(ProcessId(1), member(10, None, 10, 10)).unwrap();
        assert!(members(&image).is_err());
    }
}
