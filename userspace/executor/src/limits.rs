// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The limits of what a plan may require of the executor. They are checked when a plan is made, so
//! that nothing is begun that could not be completed. Contents of memory have none: the executor
//! divides them into calls that fit ([`preadv`](crate::preadv)).

use crust_model::plan::{Call, Plan, ProcessId, Step, TaskId, scratch};
use crust_tracee::batch::{self, layout};
use nix::sys::resource::{Resource, getrlimit};

/// A part of a plan that the executor could not carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The task that would have to do it.
    pub task: TaskId,
    /// The object concerned.
    pub object: String,
    /// Why it cannot be done.
    pub why: String,
    /// What the user can do about it.
    pub remedy: &'static str,
}

/// Returns the parts of a plan that exceed a limit: the data of a system call, which must fit into
/// scratch memory, and the numbers of the descriptors that only the restore needs, which are
/// bounded by the limit of crust itself (`RLIMIT_NOFILE`).
#[must_use]
pub fn exceeded(plan: &Plan) -> Vec<Exceeded> {
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(_, hard)| hard);
    exceeding(plan, descriptors)
}

fn exceeding(plan: &Plan, descriptors: u64) -> Vec<Exceeded> {
    const ROOM: u64 = scratch::SIZE - layout::BATCHES;
    let mut all = Vec::new();
    for (&task, steps) in plan.stages().values().flatten() {
        for call in steps.iter().filter_map(call) {
            let size = batch::size(call) as u64;
            if size > ROOM {
                all.push(Exceeded {
                    task,
                    object: call.label.clone(),
                    why: format!(
                        "one system call would have to carry {} KiB of data, and at most {} KiB are possible",
                        size >> 10,
                        ROOM >> 10
                    ),
                    remedy: "have the program read or remove a part of it before the dump",
                });
            }
        }
    }
    // Without a shared table all processes use the same number.
    let root = plan.shared_tables.is_empty().then_some(ProcessId(0));
    let processes = plan.shared_tables.keys().copied().chain(root);
    all.extend(processes.filter_map(|process| too_high(process, plan, descriptors)));
    all
}

/// Returns the system call of a step whose data goes through scratch memory.
fn call(step: &Step) -> Option<&Call> {
    match step {
        Step::Call(call) | Step::Reenter(call) | Step::CallAtLast(call) => Some(call),
        _ => None,
    }
}

fn too_high(process: ProcessId, plan: &Plan, descriptors: u64) -> Option<Exceeded> {
    let last = plan.temporary_fd(process);
    let fits = u64::try_from(last).is_ok_and(|last| last < descriptors);
    (!fits).then(|| Exceeded {
        task: process.leader(),
        object: "descriptor numbers".into(),
        why: format!(
            "a restore needs numbers up to {last} for a while, above all that the tree has, and at most {} may be \
             used here (RLIMIT_NOFILE)",
            descriptors.saturating_sub(1)
        ),
        remedy: "run crust with a higher hard limit (ulimit -Hn), or have the program close its highest descriptors",
    })
}

#[cfg(test)]
mod tests {
    use crust_model::plan::{Data, Stage};

    use super::*;

    fn plan(bytes: usize) -> Plan {
        let mut plan = Plan::default();
        plan.reserved_fds = 10;
        let call = Call::new("send", libc::SYS_write, [Data::new(vec![0; bytes]).into()]);
        plan.call(Stage::ConnectFiles, ProcessId(0).leader(), call);
        plan
    }

    #[test]
    fn data_of_a_call_fits_or_is_named() {
        assert_eq!(exceeding(&plan(1 << 20), 100), []);
        let exceeded = exceeding(&plan(scratch::SIZE as usize), 100);
        assert_eq!(exceeded.len(), 1);
        assert_eq!(exceeded[0].object, "send");
    }

    #[test]
    fn calls_that_are_no_part_of_a_batch_have_the_same_room() {
        let size = scratch::SIZE as usize;
        let call = || Call::new("wait", libc::SYS_poll, [Data::new(vec![0; size]).into()]);
        let mut plan = plan(1);
        let task = ProcessId(0).leader();
        plan.step(Stage::Resume, task, Step::Reenter(call()));
        plan.step(Stage::Resume, task, Step::CallAtLast(call()));
        // Not through scratch memory.
        let write = Step::Write {
            label: "write".into(),
            address: plan.scratch,
            bytes: vec![0; size],
        };
        plan.step(Stage::SealMemory, task, write);
        let objects: Vec<_> = exceeding(&plan, 100)
            .into_iter()
            .map(|exceeded| exceeded.object)
            .collect();
        assert_eq!(objects, ["wait", "wait"]);
    }

    #[test]
    fn numbers_fit_or_are_named() {
        assert_eq!(exceeding(&plan(1), 19), []);
        assert_eq!(exceeding(&plan(1), 18).len(), 1);
        let mut shared = plan(1);
        shared.shared_tables = [(ProcessId(0), 0), (ProcessId(1), 1)].into();
        assert_eq!(exceeding(&shared, 20), []);
        let exceeded = exceeding(&shared, 19);
        assert_eq!(exceeded.len(), 1);
        assert_eq!(exceeded[0].task.process, ProcessId(1));
    }
}
