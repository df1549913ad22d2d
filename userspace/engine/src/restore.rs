// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The procedure of a restore: read, plan, look for conflicts, execute, release.

use std::time::Instant;

use crust_executor::{core_dump, execute};
use crust_hooks::Chosen;
use crust_image::Reader;
use crust_kinds::conflicts::Conflicts;
use crust_kinds::kind::End;
use crust_kinds::plan_context::RestoreOptions;
use crust_kinds::registry::{self, KINDS};
use crust_kinds::{file, task};
use crust_model::image::Image;
use crust_model::observer::{Observer, Point};
use crust_model::plan::Plan;
use crust_model::refusal::{Refusal, Refusals};
use crust_model::{Error, Result};
use crust_tracee::interrupt::Interrupts;
use nix::unistd::{Pid, getsid};

use crate::dump::raise_descriptor_limit;
use crate::effects::Effects;
use crate::numbers::Numbers;
use crate::pidfile::Pidfile;
use crate::request::{Place, PlanReport, RestoreReport, RestoreRequest};
use crate::terminal::Lending;
use crate::{planning, stream};

/// Restores a tree of processes. Its root is a child of the caller.
///
/// # Errors
///
/// [`Error::Refused`] if the image needs what this kernel cannot do, [`Error::Conflict`] if
/// something on this machine is in the way, [`Error::Vetoed`] if the observer is against it.
/// Whatever the error is, no task is left behind.
pub fn restore(request: &RestoreRequest, observer: &mut dyn Observer) -> Result<RestoreReport> {
    let begun = Instant::now();
    raise_descriptor_limit();
    let hooks = Chosen::new(request.backend)?;
    // A stream takes its time, and the user may still end crust at once meanwhile: nothing has been
    // created.
    let (file, image, unknown) = open(&request.image)?;
    let interrupts = Interrupts::hold()?;
    if unknown.forbid() {
        return Err(Error::Refused(unknown.into_vec()));
    }
    let (plan, refusals) = planning::plan(&image, hooks.hooks(), &request.options)?;
    if refusals.forbid() {
        return Err(Error::Refused(refusals.into_vec()));
    }
    let steps = plan.step_count();
    observer.ask(&Point::Planned {
        objects: image.len() as u64,
        steps,
        took: begun.elapsed(),
    })?;
    observer.ask(&Point::PreRestore)?;
    let conflicts = conflicts(&image, &request.options, &hooks)?;
    if conflicts.forbid() {
        return Err(Error::Conflict(conflicts.into_vec()));
    }

    let mut of_kinds = registry::effects(End::Release, &image);
    let mut lending = match request.options.shell_job {
        true => lending_to_job(&image)?,
        false => None,
    };
    let mut pidfile;
    // Declared before the tree, so that its tasks are gone when the effects are aborted.
    let mut effects = Effects::default();
    for effect in &mut of_kinds {
        effects.prepare(&mut **effect)?;
    }
    let mut restored = execute(&plan, file.file(), hooks.module(), &interrupts, observer)?;
    let pid = restored.pid();
    observer.ask(&Point::PreResume { pid })?;
    interrupts.check()?;
    let forbidden = restored.take_losses();
    pidfile = request
        .pidfile
        .as_deref()
        .map(|path| Pidfile::new(path, pid));
    if let Some(pidfile) = &mut pidfile {
        effects.prepare(pidfile)?;
    }
    if let Some(lending) = &mut lending {
        effects.prepare(lending)?;
    }
    restored.release(request.options.leave_stopped)?;
    let mut incomplete = Refusals::default();
    effects.commit(&mut incomplete);
    observer.tell(&Point::PostResume { pid });

    let members = task::tree::members(&image)?;
    let losses: Vec<Refusal> = [refusals, conflicts, forbidden, incomplete]
        .into_iter()
        .flat_map(Refusals::into_vec)
        .collect();
    Ok(RestoreReport {
        pid,
        foreground: lending.as_ref().and_then(Lending::borrower),
        image: request.image.name(),
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

/// Determines what a restore would do.
///
/// # Errors
///
/// Fails if the image cannot be read.
pub fn plan(request: &RestoreRequest) -> Result<PlanReport> {
    let hooks = Chosen::new(request.backend)?;
    let (_, image, unknown) = open(&request.image)?;
    if unknown.forbid() {
        // The other objects may refer to those that are not known.
        return Ok(PlanReport {
            conflicts: unknown.into_vec(),
            plan: Plan::default(),
        });
    }
    let (plan, refusals) = planning::plan(&image, hooks.hooks(), &request.options)?;
    let mut all = conflicts(&image, &request.options, &hooks)?.into_vec();
    all.extend(refusals.into_vec());
    Ok(PlanReport {
        conflicts: all,
        plan,
    })
}

/// Opens an image, decodes it, and checks that it contains everything that its objects refer to. What this crust does
/// not know is refused.
fn open(place: &Place) -> Result<(Reader, Image, Refusals)> {
    let file = stream::open(place)?;
    let mut unknown = Refusals::default();
    let image = KINDS.decode(file.records(), &mut unknown)?;
    image.check_extents(|extent| file.has_pages(extent.offset, extent.bytes))?;
    Ok((file, image, unknown))
}

/// Returns the effect that lends the terminal of crust to a job that is a process group of its own.
fn lending_to_job(image: &Image) -> Result<Option<Lending>> {
    let had_terminal = file::terminal::Terminal::foreground(image);
    let group = task::tree::job(image, had_terminal)?;
    Ok(group.and_then(Lending::to_job))
}

/// Returns the conflicts with the current state of this machine.
fn conflicts(image: &Image, options: &RestoreOptions, hooks: &Chosen) -> Result<Refusals> {
    let mut cx = Conflicts::new(image, options, hooks.hooks().features());
    let refusals = &mut cx.refusals;
    let numbers = Numbers::default();
    for member in task::tree::members(image)? {
        if member.zombie.is_some_and(core_dump::is_in) && !core_dump::is_possible() {
            refusals.lose(
                member.pid,
                "core-dumped",
                "exit status",
                "it tells that a core was dumped, which could be brought about only by another core dump: it will not tell so",
                "restore it where kernel.core_pattern is the name of a file, and RLIMIT_CORE allows a core dump",
            );
        }
        // A zombie has no threads, but still has an id.
        let zombie = member.zombie.map(|_| &member.pid);
        for &tid in member.threads.iter().chain(zombie) {
            let Some(why) = numbers.holder(tid) else {
                continue;
            };
            let what = if tid == member.pid {
                "pid"
            } else {
                "thread id"
            };
            refusals.block(
                tid,
                "pid-taken",
                format!("{what} {tid}"),
                why,
                "end that process, or restore in a new pid namespace (unshare --pid --fork --mount-proc)",
            );
        }
    }
    // Among groups and sessions that already exist, processes can only be put into the session of
    // crust.
    let shared = match options.shell_job {
        true => task::tree::session_of_shell(image)?,
        false => getsid(None)
            .ok()
            .filter(|_| hooks.hooks().features().set_ids)
            .map(Pid::as_raw),
    };
    for group in task::tree::groups_without_leader(image, shared)? {
        if let Some(why) = numbers.holder(group) {
            refusals.block(
                group,
                "group-taken",
                format!("process group or session {group}"),
                why,
                "end that process; or restore from a shell of that session, or with --shell-job, or in a new pid \
                 namespace (unshare --pid --fork --mount-proc)",
            );
        }
    }
    registry::conflicts(&mut cx)?;
    Ok(cx.refusals)
}
