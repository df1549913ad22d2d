// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The story of a restore: read, resolve, look for conflicts, execute, let go.

use std::path::Path;
use std::time::Instant;

use crust_image::{Reader, Record};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, getpgrp, getsid};

use crate::dump::raise_descriptor_limit;
use crate::execute::execute;
use crate::hooks::Chosen;
use crate::interrupt::Interrupts;
use crate::kinds::Kinds;
use crate::object::mapping::segment::Undo;
use crate::object::{file, mapping, task, unnamed};
use crate::plan::Plan;
use crate::progress::{Phase, Progress};
use crate::refusal::{Refusal, Refusals};
use crate::request::{PlanReport, RestoreReport, RestoreRequest};
use crate::resolve::Resolve;
use crate::{Error, Result};

/// Brings a tree of processes back. Its root is a child of the caller.
///
/// # Errors
///
/// [`Error::Refused`] if the image needs what this kernel cannot do, [`Error::Conflict`] if something
/// on this machine is in the way. Whatever the error is, no task is left behind.
pub fn restore(request: &RestoreRequest, progress: &mut dyn Progress) -> Result<RestoreReport> {
    let begun = Instant::now();
    raise_descriptor_limit();
    let interrupts = Interrupts::hold()?;
    let hooks = Chosen::new(request.backend)?;
    let image = Reader::open(&request.image)?;
    let (plan, refusals) = resolve(request, &hooks, image.records())?;
    if refusals.forbid() {
        return Err(Error::Refused(refusals.into_vec()));
    }
    let steps = plan
        .stages
        .values()
        .flat_map(|tasks| tasks.values())
        .map(|steps| steps.len() as u64)
        .sum();
    progress.phase(&Phase::Planned {
        objects: image.records().len() as u64,
        steps,
        took: begun.elapsed(),
    });
    let conflicts = conflicts(image.records())?;
    if conflicts.forbid() {
        return Err(Error::Conflict(conflicts.into_vec()));
    }

    let undo = Undo::new(image.records());
    let restored = execute(&plan, image.file(), hooks.module(), &interrupts, progress)?;
    interrupts.check()?;
    let pid = restored.pid();
    if let Some(path) = &request.pidfile {
        write_pidfile(path, pid)?;
    }
    restored.release(request.options.leave_stopped)?;
    undo.keep();

    let members = task::tree::members(image.records())?;
    let losses: Vec<Refusal> = [refusals, conflicts]
        .into_iter()
        .flat_map(Refusals::into_vec)
        .collect();
    Ok(RestoreReport {
        pid,
        image: request.image.clone(),
        processes: members.len() as u64,
        threads: members
            .iter()
            .map(|member| member.threads.len() as u64)
            .sum(),
        steps,
        total_ns: u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX),
        losses,
    })
}

/// What a restore would do.
///
/// # Errors
///
/// If the image cannot be read.
pub fn plan(request: &RestoreRequest) -> Result<PlanReport> {
    let hooks = Chosen::new(request.backend)?;
    let image = Reader::open(&request.image)?;
    let (plan, refusals) = resolve(request, &hooks, image.records())?;
    let mut all = conflicts(image.records())?.into_vec();
    all.extend(refusals.into_vec());
    Ok(PlanReport {
        conflicts: all,
        plan,
    })
}

/// From records to steps.
fn resolve(
    request: &RestoreRequest,
    hooks: &Chosen,
    records: &[Record],
) -> Result<(Plan, Refusals)> {
    let session = getsid(None).map_err(|errno| Error::system("getsid", errno))?;
    let mut resolve = Resolve {
        records,
        abilities: hooks.hooks().abilities(),
        options: &request.options,
        caller: (session.as_raw(), getpgrp().as_raw()),
        plan: Plan::default(),
        refusals: Refusals::default(),
    };
    Kinds::all().refuse_unknown(records, &mut resolve.refusals);
    if resolve.refusals.forbid() {
        // The other records may refer to what is not known.
        return Ok((resolve.plan, resolve.refusals));
    }
    task::plan(&mut resolve)?;
    // The files tell which descriptor numbers are free, and the memory needs some.
    file::plan(&mut resolve)?;
    mapping::plan(&mut resolve)?;
    Ok((resolve.plan, resolve.refusals))
}

/// What is in the way on this machine.
fn conflicts(records: &[Record]) -> Result<Refusals> {
    let mut refusals = Refusals::default();
    for member in task::tree::members(records)? {
        // A zombie has no threads, and a number all the same.
        let zombie = member.zombie.map(|_| &member.pid);
        for &tid in member.threads.iter().chain(zombie) {
            if kill(Pid::from_raw(tid), None) != Err(Errno::ESRCH) {
                let what = if tid == member.pid {
                    "pid"
                } else {
                    "thread id"
                };
                refusals.block(
                    tid,
                    format!("{what} {tid}"),
                    "another process has this number now",
                    "end that process, or restore within a fresh pid namespace (unshare --pid --fork --mount-proc)",
                );
            }
        }
    }
    file::conflicts(records, &mut refusals)?;
    mapping::conflicts(records, &mut refusals)?;
    unnamed::conflicts(records, &mut refusals)?;
    Ok(refusals)
}

fn write_pidfile(path: &Path, pid: i32) -> Result<()> {
    std::fs::write(path, format!("{pid}\n")).map_err(|error| {
        Error::system(
            format!("write {}", path.display()),
            Errno::from_raw(error.raw_os_error().unwrap_or_default()),
        )
    })
}
