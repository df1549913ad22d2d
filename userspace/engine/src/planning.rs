// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Turns records into a plan, and determines whether this machine could execute it.
//!
//! A restore plans what it will do. A dump plans the records that it has just captured, before it
//! kills the program: what cannot be restored here is refused while the program still exists.

use crust_executor::limits;
use crust_hooks::Hooks;
use crust_kinds::capture::DumpOptions;
use crust_kinds::plan_context::{PlanCx, RestoreOptions};
use crust_kinds::registry;
use crust_kinds::task::Member;
use crust_model::image::Image;
use crust_model::plan::Plan;
use crust_model::refusal::{Refusal, Refusals, Weight};
use crust_model::{Error, Result};
use nix::unistd::{getpgrp, getsid};

/// Plans the restore of an image on this machine.
///
/// # Errors
///
/// Fails if the image makes no sense. Obstacles to their restore are among the refusals.
pub fn plan(
    image: &Image,
    hooks: &dyn Hooks,
    options: &RestoreOptions,
) -> Result<(Plan, Refusals)> {
    let session = getsid(None).map_err(|errno| Error::system("getsid", errno))?;
    let features = hooks.features().of_the_machine();
    let caller = (session.as_raw(), getpgrp().as_raw());
    let mut cx = PlanCx::new(image, features, options, caller);
    registry::plan(&mut cx)?;
    for exceeded in limits::exceeded(&cx.plan) {
        let member = image.get::<Member>(exceeded.task.process);
        cx.refusals.block(
            member.map_or(0, |member| member.pid),
            "restore-limit",
            exceeded.object,
            exceeded.why,
            exceeded.remedy,
        );
    }
    Ok((cx.plan, cx.refusals))
}

/// Returns what a restore of this image on this machine would refuse or lose, as a dump says it.
/// What every program loses on this kernel is left out: `check` tells it.
///
/// # Errors
///
/// Fails if the records make no sense.
pub fn foresee(image: &Image, hooks: &dyn Hooks, options: &DumpOptions) -> Result<Vec<Refusal>> {
    let options = RestoreOptions {
        shell_job: options.shell_job,
        ..RestoreOptions::default()
    };
    let (_, found) = plan(image, hooks, &options)?;
    let found = found.into_vec().into_iter();
    let of_program = found.filter(|refusal| !refusal.is_of_this_kernel());
    Ok(of_program
        .map(|refusal| Refusal {
            why: match refusal.weight {
                Weight::Loss => format!("after a restore here: {}", refusal.why),
                _ => format!("the image could not be restored here: {}", refusal.why),
            },
            ..refusal
        })
        .collect())
}
