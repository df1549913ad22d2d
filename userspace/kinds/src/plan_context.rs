// SPDX-License-Identifier: Apache-2.0 OR MIT

//! From image to plan: the context in which the kinds emit their steps.

use std::collections::BTreeMap;

use crust_hooks::KernelFeatures;
use crust_model::image::Image;
use crust_model::plan::{Plan, ProcessId, TaskId};
use crust_model::refusal::Refusals;

use crate::notes::Notes;

/// The options of a restore.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// `--shell-job`: the terminal, session and process group are those of the caller.
    pub shell_job: bool,
    /// `--restore-detached`.
    pub detached: bool,
    /// `--leave-stopped`.
    pub leave_stopped: bool,
    /// `--keep-clocks`: the clocks that count from boot continue from where they were.
    pub keep_clocks: bool,
}

/// A plan in the making. It is pure: nothing here looks at the machine.
pub struct PlanCx<'a> {
    /// The objects to restore.
    pub image: &'a Image,
    /// The features of the kernel that will run the restore.
    pub features: KernelFeatures,
    /// The options of the restore.
    pub options: &'a RestoreOptions,
    /// The session and process group of the caller, for `--shell-job`.
    pub caller: (i32, i32),
    /// For each process whose thread group leader is to exit before the other threads resume, the thread that acts in
    /// its place after [`Stage::Exit`](crust_model::plan::Stage::Exit).
    pub survivors: BTreeMap<ProcessId, TaskId>,
    /// The steps planned so far.
    pub plan: Plan,
    /// What will be lost, or prevents the restore.
    pub refusals: Refusals,
    /// Notes that kinds keep for themselves.
    pub notes: Notes,
}

impl<'a> PlanCx<'a> {
    /// Returns the context of an empty plan.
    #[must_use]
    pub fn new(
        image: &'a Image,
        features: KernelFeatures,
        options: &'a RestoreOptions,
        caller: (i32, i32),
    ) -> Self {
        Self {
            image,
            features,
            options,
            caller,
            survivors: BTreeMap::new(),
            plan: Plan::default(),
            refusals: Refusals::default(),
            notes: Notes::default(),
        }
    }

    /// Returns the thread that acts for a process after [`Stage::Exit`](crust_model::plan::Stage::Exit).
    #[must_use]
    pub fn survivor(&self, process: ProcessId) -> TaskId {
        let survivor = self.survivors.get(&process);
        survivor.copied().unwrap_or(process.leader())
    }
}
