// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The work of tasks: the steps of a plan as they are carried out, with contents of the image
//! divided into system calls.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crust_model::index;
use crust_model::plan::{Call, CallRef, Plan, Stage, Step, TaskId, reserved};

use crate::preadv;

/// The steps of a stage.
pub(super) type Steps = BTreeMap<TaskId, Vec<Step>>;

/// The work that tasks do without waiting for each other: the steps of one stage, or of several.
pub(super) type Work<'p> = BTreeMap<TaskId, Vec<Todo<'p>>>;

/// A part of the work of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Todo<'p> {
    /// A system call. The calls to whose results it refers are counted in the work of the task.
    Call(Cow<'p, Call>),
    /// Any other step.
    Step(&'p Step),
}

impl Todo<'_> {
    /// Returns whether a task is created.
    pub(super) fn is_birth(&self) -> bool {
        matches!(
            self,
            Todo::Step(Step::SpawnChild { .. } | Step::SpawnThread { .. })
        )
    }
}

/// Concatenates the steps of each task in several stages.
pub(super) fn merge<'p>(stages: &[(Stage, &'p Steps)], plan: &Plan) -> Work<'p> {
    let image = plan.reserved_fds + reserved::IMAGE;
    let mut work = Work::new();
    for &(stage, steps) in stages {
        for (&task, steps) in steps.iter().filter(|(_, steps)| !steps.is_empty()) {
            let all = work.entry(task).or_default();
            append(all, steps, image);
            // If several processes share a table, the plan says when all have finished.
            if stage == Stage::SealMemory
                && task.thread == 0
                && !plan.shared_tables.contains_key(&task.process)
            {
                all.push(Todo::Call(Cow::Owned(plan.close_reserved())));
            }
        }
    }
    work
}

/// Appends the steps of a stage to the work of a task.
fn append<'p>(all: &mut Vec<Todo<'p>>, steps: &'p [Step], image: i32) {
    // For each step, where its part of the work begins.
    let mut places = Vec::with_capacity(steps.len());
    for step in steps {
        let place = index::number(all.len());
        places.push(place);
        match step {
            Step::Call(call) => {
                let refer = |to: CallRef| {
                    // A call that refers to a later one is refused when it is encoded, as one is
                    // that refers to itself.
                    CallRef(places.get(to.0 as usize).copied().unwrap_or(place))
                };
                all.push(Todo::Call(call.with_references(refer)));
            }
            Step::Fill(fill) => {
                let calls = preadv::calls(fill, image).into_iter();
                all.extend(calls.map(|call| Todo::Call(Cow::Owned(call))));
            }
            step => all.push(Todo::Step(step)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crust_model::Runs;
    use crust_model::plan::{Arg, Fill, ProcessId};
    use crust_sys::RemoteAddr;

    use super::*;

    #[test]
    fn references_are_those_of_the_whole_work() {
        let root = ProcessId(0).leader();
        let mut plan = Plan::default();
        let mut pages = Runs::default();
        pages.push(0..3 << 20);
        let fill = Fill {
            label: "pages".into(),
            offset: 0,
            base: RemoteAddr(0),
            pages,
        };
        for stage in [Stage::MapMemory, Stage::FillMemory] {
            let open = plan.call(stage, root, Call::new("open", libc::SYS_open, []));
            plan.step(stage, root, Step::Fill(fill.clone()));
            let dup = plan.call(stage, root, Call::new("dup", libc::SYS_dup, [open.into()]));
            plan.call(
                stage,
                root,
                Call::new("close", libc::SYS_close, [dup.into()]),
            );
        }
        let stages: Vec<_> = plan
            .stages()
            .iter()
            .map(|(&stage, steps)| (stage, steps))
            .collect();
        let work = merge(&stages, &plan);
        // The contents are four calls.
        let refers_to = |index: usize| match &work[&root][index] {
            Todo::Call(call) => match call.args[0] {
                Arg::Returned(to) => (&*call.label, to.0),
                ref other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        assert_eq!(
            [5, 6, 12, 13].map(refers_to),
            [("dup", 0), ("close", 5), ("dup", 7), ("close", 12)]
        );
    }
}
