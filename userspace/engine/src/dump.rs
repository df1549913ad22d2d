// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The procedure of a dump: freeze, capture, refuse or write, release or kill.

use std::ffi::OsStr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crust_hooks::{Backend, Chosen, Hooks};
use crust_image::{Finished, Origin, Writer};
use crust_kinds::capture::{self, DumpOptions};
use crust_kinds::kind::End;
use crust_kinds::memory::pages::{self, Snapshot};
use crust_kinds::outside;
use crust_kinds::registry::{self, KINDS};
use crust_model::image::Image;
use crust_model::observer::{Observer, Point};
use crust_model::refusal::{Refusals, Weight};
use crust_model::{Error, Result};
use crust_tracee::freeze::Frozen;
use crust_tracee::interrupt::Interrupts;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::utsname::{UtsName, uname};

use crate::effects::Effects;
use crate::planning;
use crate::request::{Captured, DumpReport, DumpRequest, Place};
use crate::stream::Sink;

/// Saves a tree of processes.
///
/// # Errors
///
/// [`Error::Refused`] if something cannot be carried over, with the complete list;
/// [`Error::Vetoed`] if the observer is against it. Whatever the error is, the program continues as
/// if nothing had been tried, and there is no new image.
pub fn dump(request: &DumpRequest, observer: &mut dyn Observer) -> Result<DumpReport> {
    let begun = Instant::now();
    raise_descriptor_limit();
    let interrupts = Interrupts::hold()?;
    let hooks = Chosen::new(request.backend)?;
    // Before anything is stopped: a missing directory, or a missing reader, must not cost the
    // program anything.
    let (mut file, sink) = match &request.image {
        Place::File(path) => (Writer::create(path)?, None),
        Place::Stream => (Writer::unnamed()?, Some(Sink::open()?)),
    };
    file.set_origin(origin());

    observer.ask(&Point::PreDump { pid: request.pid })?;
    let frozen = Frozen::tree(request.pid, &interrupts)?;
    observer.ask(&Point::Frozen {
        processes: frozen.processes.len() as u64,
        threads: frozen.threads(),
        took: frozen.since.elapsed(),
    })?;

    let at = Instant::now();
    let mut captured = registry::capture(&frozen.processes, hooks.hooks(), &request.options)?;
    interrupts.check()?;
    if captured.refusals.forbid() {
        return Err(refused(frozen, captured.refusals));
    }
    observer.ask(&Point::Captured {
        objects: captured.image.len() as u64,
        took: at.elapsed(),
    })?;

    let at = Instant::now();
    let mut report = DumpReport {
        pid: request.pid,
        image: request.image.name(),
        processes: frozen.processes.len() as u64,
        threads: frozen.threads(),
        left_alive: request.options.leave_running || is_left_stopped(request),
        ..DumpReport::default()
    };
    let since = frozen.since;
    let options = &request.options;
    let snapshot = Snapshot::take(
        KINDS,
        &mut captured,
        &frozen.processes,
        &mut file,
        options,
        &interrupts,
        observer,
    )?;
    let frozen = if options.leave_running {
        frozen.release();
        report.frozen_ns = nanoseconds(since);
        observer.ask(&Point::LetGo {
            frozen: since.elapsed(),
        })?;
        None
    } else {
        Some(frozen)
    };
    let capture::Captured {
        mut image,
        mut refusals,
        ..
    } = captured;
    snapshot.write(&mut image, &mut file, observer)?;
    // Only the machine of the restore can tell what it lacks; what no machine could restore is
    // refused here.
    check_restorable(
        &image,
        hooks.hooks(),
        request,
        report.left_alive,
        &mut refusals,
    )?;
    for (owner, object) in image.iter() {
        file.add(&object.record(owner)?)?;
    }
    observer.ask(&Point::Pages {
        bytes: file.page_bytes(),
        took: at.elapsed(),
    })?;

    let mut of_kinds = match report.left_alive {
        true => Vec::new(),
        false => registry::effects(End::Kill, &image),
    };
    let mut effects = Effects::default();
    for effect in &mut of_kinds {
        effects.prepare(&mut **effect)?;
    }
    observer.ask(&Point::PostDump { pid: request.pid })?;
    let at = Instant::now();
    interrupts.check()?;
    let finished = finish(file, sink, request.sync, &interrupts, observer)?;
    observer.tell(&Point::Written {
        bytes: finished.bytes,
        took: at.elapsed(),
    });

    report.image_bytes = finished.bytes;
    report.page_bytes = finished.page_bytes;
    report.objects = finished.records;
    let at = Instant::now();
    if let Some(frozen) = frozen {
        report.frozen_ns = nanoseconds(since);
        if is_left_stopped(request) {
            leave_stopped(frozen, &mut report);
        } else {
            kill(frozen, &interrupts, &mut refusals)?;
            effects.commit(&mut refusals);
            observer.tell(&Point::Reaped { took: at.elapsed() });
        }
    }
    report.losses = refusals.into_vec();
    report.total_ns = nanoseconds(begun);
    Ok(report)
}

/// Returns the origin of an image that is made now, for `inspect`.
fn origin() -> Origin {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let names = uname().ok();
    let text = |name: Option<&OsStr>| name.unwrap_or_default().to_string_lossy().into_owned();
    Origin {
        time: since.map_or(0, |since| since.as_secs()),
        kernel: text(names.as_ref().map(UtsName::release)),
        host: text(names.as_ref().map(UtsName::nodename)),
    }
}

/// Completes the image, and gives it its name or sends it.
fn finish(
    file: Writer,
    sink: Option<Sink>,
    sync: bool,
    interrupts: &Interrupts,
    observer: &mut dyn Observer,
) -> Result<Finished> {
    match sink {
        None => Ok(file.finish(sync)?),
        Some(sink) => {
            let (finished, file) = file.finish_unnamed()?;
            sink.send(file, finished.bytes, interrupts, observer)?;
            Ok(finished)
        }
    }
}

/// Leaves the program stopped, and reports which processes are.
fn leave_stopped(frozen: Frozen, report: &mut DumpReport) {
    let there = frozen.processes.iter().rev();
    let there = there.filter(|process| process.zombie.is_none());
    let ran = there.clone().filter(|process| process.stopped.is_none());
    report.left_stopped = there.map(|process| process.pid).collect();
    report.to_continue = ran.map(|process| process.pid).collect();
    frozen.release_stopped();
}

/// Kills the program. A process that nobody reaps is a loss.
fn kill(frozen: Frozen, interrupts: &Interrupts, refusals: &mut Refusals) -> Result<()> {
    for pid in frozen.kill(interrupts)? {
        refusals.lose(
            pid,
            "not-reaped",
            "process",
            "its parent, which is not in the tree, has not waited for it: its number is still taken",
            "end the parent, or have it wait for its child, before the restore",
        );
    }
    Ok(())
}

/// Returns whether the program is left stopped. That an image was written to a stream does not mean
/// that it has arrived, so its program is not killed unless the user says so.
fn is_left_stopped(request: &DumpRequest) -> bool {
    let unknown = request.image == Place::Stream && !request.kill && !request.options.leave_running;
    request.options.leave_stopped || unknown
}

/// Refuses a dump whose image this machine could not restore, while the program still exists; for a
/// program that continues anyway, that is a loss. What a restore here would lose is added too.
fn check_restorable(
    image: &Image,
    hooks: &dyn Hooks,
    request: &DumpRequest,
    left_alive: bool,
    refusals: &mut Refusals,
) -> Result<()> {
    for mut found in planning::foresee(image, hooks, &request.options)? {
        if left_alive {
            found.weight = Weight::Loss;
        }
        refusals.add(found);
    }
    match refusals.forbid() {
        true => Err(Error::Refused(std::mem::take(refusals).into_vec())),
        false => Ok(()),
    }
}

/// Lets a tree that cannot be dumped go on, and returns the refusals.
fn refused(frozen: Frozen, refusals: Refusals) -> Error {
    let tree: Vec<i32> = frozen.processes.iter().map(|process| process.pid).collect();
    frozen.release();
    let mut refusals = refusals.into_vec();
    outside::name(&mut refusals, &tree);
    Error::Refused(refusals)
}

/// Determines what a dump would save: stops the tree for a moment, and writes nothing.
///
/// # Errors
///
/// Fails if the tree cannot be stopped or read.
pub fn capture_only(pid: i32, options: &DumpOptions, backend: Backend) -> Result<Captured> {
    raise_descriptor_limit();
    let interrupts = Interrupts::hold()?;
    let hooks = Chosen::new(backend)?;
    let frozen = Frozen::tree(pid, &interrupts)?;
    let capture::Captured {
        mut image,
        jobs,
        refusals,
    } = registry::capture(&frozen.processes, hooks.hooks(), options)?;
    for job in jobs {
        image.insert(job.into_object(0))?;
    }
    // Planning needs the objects of shared memory, which a dump adds with their contents.
    for memory in pages::shared_memory(&image, &frozen.processes)? {
        image.insert(memory)?;
    }
    let forbids = refusals.forbid();
    let mut captured = Captured {
        pids: frozen.processes.iter().map(|process| process.pid).collect(),
        threads: frozen.threads(),
        module: hooks.module().is_some(),
        image,
        refusals: refusals.into_vec(),
        frozen_ns: 0,
    };
    let since = frozen.since;
    frozen.release();
    captured.frozen_ns = nanoseconds(since);
    if forbids {
        // The image is not complete, so it cannot be planned.
        outside::name(&mut captured.refusals, &captured.pids);
    } else {
        let foreseen = planning::foresee(&captured.image, hooks.hooks(), options)?;
        captured.refusals.extend(foreseen);
    }
    Ok(captured)
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Raises the descriptor limit. Each process and thread takes a few descriptors: the usual 1024 are
/// not enough for a large tree.
pub(crate) fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // If this fails, opening files will fail and report it.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
