// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Turns records into a plan, and determines whether this machine could execute it.
//!
//! A restore plans what it will do. A dump plans the records that it has just captured, before it
//! kills the program: what cannot be restored here is refused while the program still exists.

use std::collections::BTreeMap;

use crust_executor::limits;
use crust_hooks::Hooks;
use crust_image::Record;
use crust_kinds::notes::Notes;
use crust_kinds::plan_context::{PlanCx, RestoreOptions};
use crust_kinds::{registry, task};
use crust_model::plan::Plan;
use crust_model::refusal::Refusals;
use crust_model::{Error, Result};
use nix::unistd::{getpgrp, getsid};

/// Plans the restore of an image's records on this machine.
///
/// # Errors
///
/// Fails if the records make no sense. Obstacles to their restore are among the refusals.
pub fn plan(
    records: &[Record],
    hooks: &dyn Hooks,
    options: &RestoreOptions,
) -> Result<(Plan, Refusals)> {
    let session = getsid(None).map_err(|errno| Error::system("getsid", errno))?;
    let mut cx = PlanCx {
        records,
        features: hooks.features().of_the_machine(),
        options,
        caller: (session.as_raw(), getpgrp().as_raw()),
        survivors: BTreeMap::new(),
        plan: Plan::default(),
        refusals: Refusals::default(),
        notes: Notes::default(),
    };
    registry::plan(&mut cx)?;
    let PlanCx {
        plan, mut refusals, ..
    } = cx;
    let members = task::tree::members(records)?;
    for exceeded in limits::exceeded(&plan) {
        let process = exceeded.task.process.0 as usize;
        let task = members.get(process).map_or(0, |member| member.pid);
        refusals.block(task, exceeded.object, exceeded.why, exceeded.remedy);
    }
    Ok((plan, refusals))
}
