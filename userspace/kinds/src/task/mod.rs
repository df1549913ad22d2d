// SPDX-License-Identifier: Apache-2.0 OR MIT

//! State of a process or thread that is neither memory nor a file.
//!
//! An *aspect* is a plain struct with two functions: `capture` reads it from a stopped task, `plan` says by which
//! system calls a restored task gets it back. A new aspect is a file and a line in the [table](crate::registry::KINDS).
//! The processes and threads themselves, with their groups and sessions, are in [`tree`]; state that is not supported
//! at all is in [`unsupported`].

pub mod actions;
pub mod altstack;
pub mod clear_child_tid;
pub mod core_sched;
pub mod credentials;
pub mod directories;
pub mod dispatch;
pub mod flags;
pub mod ioperm;
pub mod itimers;
pub mod labels;
pub mod limits;
pub mod name;
pub mod pending;
pub mod personality;
pub mod posix_timers;
pub mod registers;
pub mod robust;
pub mod rseq;
pub mod scheduling;
pub mod seccomp;
pub mod session_replay;
pub mod settings;
pub mod shadow_stack;
pub mod sharing;
pub mod start_time;
pub mod timer_slack;
pub mod tls_segments;
pub mod tree;
pub mod unsupported;
pub mod usage;
pub mod view;

use crust_model::image::Image;
use crust_model::plan::{ProcessId, TaskId};
use crust_model::{Error, Result};
use crust_tracee::frozen_process::FrozenProcess;
use crust_tracee::texts::Texts;

use self::sharing::Sharing;
pub use self::tree::Member;
pub use self::view::{ProcessView, ThreadView};
use crate::capture::Capture;
use crate::kind::{Kind, Kinds, Role, Source};
use crate::plan_context::PlanCx;

/// Returns the error for a missing or invalid field of `/proc/PID/status` that every kernel has.
fn missing(task: i32, field: &str) -> Error {
    Error::malformed(
        format!("/proc/{task}/status"),
        format!("has no valid `{field}`"),
    )
}

/// State that a process has once.
pub trait ProcessAspect: Kind {
    /// Reads the state; `None` if there is nothing to carry over.
    ///
    /// # Errors
    ///
    /// If something breaks; what cannot be carried over goes to [`Capture::refusals`] instead.
    fn capture(view: &ProcessView<'_>, capture: &mut Capture<'_>) -> Result<Option<Self>>;

    /// Adds the steps that restore the state.
    ///
    /// # Errors
    ///
    /// If the state is inconsistent.
    fn plan(&self, process: ProcessId, cx: &mut PlanCx<'_>) -> Result<()>;
}

/// State that each thread has.
pub trait ThreadAspect: Kind {
    /// Reads the state; `None` if there is nothing to carry over.
    ///
    /// # Errors
    ///
    /// If something breaks; what cannot be carried over goes to [`Capture::refusals`] instead.
    fn capture(view: &ThreadView<'_>, capture: &mut Capture<'_>) -> Result<Option<Self>>;

    /// Adds the steps that restore the state.
    ///
    /// # Errors
    ///
    /// If the state is inconsistent.
    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()>;
}

/// The source of the aspects that a process has once.
#[derive(Clone, Copy, Debug)]
pub struct OfProcess;

/// The source of the aspects that each thread has.
#[derive(Clone, Copy, Debug)]
pub struct OfThread;

/// How an aspect of a process is captured.
struct ProcessRole(fn(&ProcessView<'_>, &mut Capture<'_>) -> Result<()>);

/// How an aspect of a thread is captured.
struct ThreadRole(fn(&ThreadView<'_>, &mut Capture<'_>) -> Result<()>);

impl<K: ProcessAspect> Source<K> for OfProcess {
    const ROLE: Role = &ProcessRole(|view, capture| {
        if let Some(state) = K::capture(view, capture)? {
            capture.image.add(view.process.id, state)?;
        }
        Ok(())
    });

    fn plan(_: Kinds, cx: &mut PlanCx<'_>) -> Result<()> {
        let image = cx.image;
        let mut all = image.all::<K>();
        all.try_for_each(|(owner, state)| state.plan(owner.process(), cx))
    }
}

impl<K: ThreadAspect> Source<K> for OfThread {
    const ROLE: Role = &ThreadRole(|view, capture| {
        if let Some(state) = K::capture(view, capture)? {
            let task = TaskId {
                process: view.process.id,
                thread: view.number,
            };
            capture.image.add(task, state)?;
        }
        Ok(())
    });

    fn plan(_: Kinds, cx: &mut PlanCx<'_>) -> Result<()> {
        let image = cx.image;
        let mut all = image.all::<K>();
        all.try_for_each(|(owner, state)| state.plan(owner.task(), cx))
    }
}

/// Checks that all aspects are those of processes and threads that exist: others would be lost without a word.
fn check_owners(kinds: Kinds, image: &Image) -> Result<()> {
    let processes = kinds.of_role::<ProcessRole>().map(|(tag, _)| tag);
    let threads = kinds.of_role::<ThreadRole>().map(|(tag, _)| tag);
    for (owner, object) in processes.chain(threads).flat_map(|tag| image.of_tag(tag)) {
        let member = image.get::<Member>(owner.process());
        // A zombie has no threads, but a name.
        let exists =
            |member: &Member| owner.part == 0 || (owner.part as usize) < member.threads.len();
        if !member.is_some_and(exists) {
            return Err(Error::malformed(
                format!("{} of task {owner}", object.row().name),
                "the image has no such task",
            ));
        }
    }
    Ok(())
}

/// Captures the processes, with their aspects and those of their threads.
///
/// # Errors
///
/// If something breaks; what cannot be carried over goes to [`Capture::refusals`] instead.
fn capture(kinds: Kinds, capture: &mut Capture<'_>) -> Result<()> {
    let (tree, texts) = (capture.tree, capture.texts);
    let sharing = sharing::look(capture)?;
    for ((process, texts), sharing) in tree.iter().zip(texts).zip(sharing) {
        capture_process(kinds, process, texts, sharing, capture)?;
    }
    tree::check(capture)
}

fn capture_process(
    kinds: Kinds,
    process: &FrozenProcess,
    (of_process, of_threads): &Texts,
    sharing: Sharing,
    capture: &mut Capture<'_>,
) -> Result<()> {
    let view = match (process.leader(), of_process, of_threads.first()) {
        (Some(leader), Some(text), Some(of_leader)) => {
            unsupported::check_process(process, text, of_leader, capture)?;
            Some(ProcessView::new(
                process, leader, text, of_threads, sharing, capture,
            )?)
        }
        _ => None,
    };
    tree::capture(process, view.as_ref(), capture)?;
    if let Some(view) = &view {
        for (_, ProcessRole(read)) in kinds.of_role() {
            read(view, capture)?;
        }
    }
    for ((number, thread), text) in process.numbered().zip(of_threads) {
        let view = ThreadView::new(process, number, thread, text, capture)?;
        unsupported::check_thread(&view, capture)?;
        for (_, ThreadRole(read)) in kinds.of_role() {
            read(&view, capture)?;
        }
    }
    Ok(())
}
