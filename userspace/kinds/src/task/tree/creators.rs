// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The creation of processes: the steps that create them, and a note of who creates whom.
//!
//! A child gets a copy of its creator's memory, and its pid is part of paths in `/proc`, so other kinds need to know both.

use std::collections::BTreeMap;

use crust_model::plan::{ProcessId, Stage, Step, TaskId};
use crust_model::{Error, Result};

use super::Member;
use crate::plan_context::PlanCx;

/// The processes that the plan of a tree creates: the note that it leaves in [`PlanCx::notes`].
#[derive(Debug, Default)]
pub struct Creators(BTreeMap<ProcessId, Created>);

/// A process that a plan creates.
#[derive(Clone, Copy, Debug)]
struct Created {
    /// The pid, as crust will see it; `None` if the kernel chooses it.
    pid: Option<i32>,
    /// The process of the image of which this one is a copy; `None` for the root.
    copy_of: Option<ProcessId>,
    /// Whether the process stands in for one that does not exist any more.
    stands_in: bool,
}

impl Creators {
    /// Returns the note of a plan whose tree has been planned.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the plan creates no process.
    pub fn noted<'a>(cx: &'a PlanCx<'_>) -> Result<&'a Self> {
        let noted = cx.notes.get();
        noted.ok_or_else(|| Error::malformed("the plan", "makes no process"))
    }

    /// Returns the pid that a process will have, as crust sees it.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the plan creates no such process, or one with any pid.
    pub fn pid(&self, process: ProcessId) -> Result<i32> {
        let pid = self.created(process)?.pid;
        pid.ok_or_else(|| Error::malformed(process.to_string(), "the plan gives it no pid"))
    }

    /// Returns the process of the image of whose memory a process gets a copy: that of its creator or, as a stand-in is
    /// itself a copy, that of the creator of the stand-in. `None` for the root.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the plan creates no such process.
    pub fn copy_of(&self, process: ProcessId) -> Result<Option<ProcessId>> {
        Ok(self.created(process)?.copy_of)
    }

    fn created(&self, process: ProcessId) -> Result<&Created> {
        let created = self.0.get(&process);
        created.ok_or_else(|| Error::malformed(process.to_string(), "the plan does not make it"))
    }
}

/// A process to create.
#[derive(Clone, Debug)]
pub struct NewProcess {
    /// The number of the process in the plan.
    pub id: ProcessId,
    /// The pid; `None` for any that no task of the plan has.
    pub pid: Option<i32>,
    /// The signal that the parent gets when the process exits; 0 for none.
    pub exit_signal: i32,
    /// More flags of `clone3`.
    pub flags: u64,
    /// Whether the process stands in for one that does not exist any more.
    pub stands_in: bool,
}

impl NewProcess {
    /// Returns a process of the image.
    pub(super) fn of(member: &Member, id: ProcessId) -> Self {
        Self {
            id,
            pid: Some(member.pid),
            exit_signal: member.exit_signal,
            flags: member.flags(),
            stands_in: false,
        }
    }

    /// Returns a process that stands in for one that does not exist any more.
    pub(super) fn stand_in(id: ProcessId, pid: Option<i32>) -> Self {
        Self {
            id,
            pid,
            exit_signal: 0,
            flags: 0,
            stands_in: true,
        }
    }

    /// Plans that the executor creates the process, which is the root.
    pub fn create_root(self, cx: &mut PlanCx<'_>) {
        let root = self.id.leader();
        self.create(Stage::Root, root, None, cx);
    }

    /// Plans that the leader of another process creates this one.
    pub fn create_by(self, creator: ProcessId, stage: Stage, cx: &mut PlanCx<'_>) {
        let creators = &cx.notes.of::<Creators>().0;
        let copy_of = match creators.get(&creator) {
            Some(stand_in) if stand_in.stands_in => stand_in.copy_of,
            _ => Some(creator),
        };
        self.create(stage, creator.leader(), copy_of, cx);
    }

    fn create(self, stage: Stage, by: TaskId, copy_of: Option<ProcessId>, cx: &mut PlanCx<'_>) {
        let created = Created {
            pid: self.pid,
            copy_of,
            stands_in: self.stands_in,
        };
        cx.notes.of::<Creators>().0.insert(self.id, created);
        let step = Step::SpawnChild {
            child: self.id,
            pid: self.pid.into_iter().collect(),
            exit_signal: self.exit_signal,
            flags: self.flags,
        };
        cx.plan.step(stage, by, step);
    }
}

#[cfg(test)]
mod tests {
    use crust_hooks::KernelFeatures;
    use crust_model::image::Image;

    use super::*;
    use crate::plan_context::RestoreOptions;

    #[test]
    fn a_child_of_a_stand_in_is_a_copy_of_its_creator() {
        let options = RestoreOptions::default();
        let image = Image::default();
        let mut cx = PlanCx::new(&image, KernelFeatures::default(), &options, (1, 1));
        let member = |id, pid| NewProcess {
            pid: Some(pid),
            stands_in: false,
            ..NewProcess::stand_in(ProcessId(id), None)
        };
        member(0, 10).create_root(&mut cx);
        member(1, 11).create_by(ProcessId(0), Stage::Spawn, &mut cx);
        NewProcess::stand_in(ProcessId(3), None).create_by(ProcessId(1), Stage::Spawn, &mut cx);
        member(2, 12).create_by(ProcessId(3), Stage::Spawn, &mut cx);

        let creators = cx.notes.take::<Creators>();
        let copy_of = |id| creators.copy_of(ProcessId(id)).unwrap();
        assert_eq!(
            [0, 1, 2, 3].map(copy_of),
            [None, Some(0), Some(1), Some(1)].map(|id: Option<u32>| id.map(ProcessId))
        );
        assert_eq!(creators.pid(ProcessId(2)).unwrap(), 12);
        assert!(creators.pid(ProcessId(3)).is_err());
        assert!(creators.copy_of(ProcessId(4)).is_err());
    }
}
