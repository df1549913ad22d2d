// SPDX-License-Identifier: Apache-2.0 OR MIT

//! From image to plan: what the kinds have to hand while they emit their steps.

use std::collections::BTreeMap;

use crust_hooks::KernelFeatures;
use crust_image::Record;
use crust_model::plan::{Plan, ProcessId, TaskId};
use crust_model::refusal::Refusals;

use crate::notes::Notes;

/// What the user decided about a restore.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// `--shell-job`: terminal, session and group are those of the caller.
    pub shell_job: bool,
    /// `--restore-detached`.
    pub detached: bool,
    /// `--leave-stopped`.
    pub leave_stopped: bool,
    /// `--keep-clocks`: the clocks that count from the start of the machine go on from where they were.
    pub keep_clocks: bool,
}

/// A plan in the making. Pure: nothing here asks the machine.
pub struct PlanCx<'a> {
    /// All records of the image.
    pub records: &'a [Record],
    /// What the kernel of the restore can do.
    pub features: KernelFeatures,
    /// The user's decisions.
    pub options: &'a RestoreOptions,
    /// Session and group of the caller, for `--shell-job`.
    pub caller: (i32, i32),
    /// For each process whose leader is to end before the rest goes on, the thread that acts in its stead
    /// after [`Stage::Exit`](crust_model::plan::Stage::Exit).
    pub survivors: BTreeMap<ProcessId, TaskId>,
    /// What has been planned.
    pub plan: Plan,
    /// What will be lost, or stands against the restore.
    pub refusals: Refusals,
    /// What the kinds note for themselves.
    pub notes: Notes,
}

impl PlanCx<'_> {
    /// Who does what concerns a process after [`Stage::Exit`](crust_model::plan::Stage::Exit).
    #[must_use]
    pub fn survivor(&self, process: ProcessId) -> TaskId {
        let survivor = self.survivors.get(&process);
        survivor.copied().unwrap_or(process.leader())
    }

    /// The records of one kind.
    pub fn of_tag(&self, tag: u16) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |record| record.tag == tag)
    }
}
