// SPDX-License-Identifier: Apache-2.0 OR MIT

//! State of a process or thread that is neither memory nor a file.
//!
//! An *aspect* is a plain struct with two functions: `capture` reads it from a stopped task, `plan` says by which
//! system calls a restored task gets it back. A new aspect is a file and a line in [`PROCESS`] or [`THREAD`]. The
//! processes and threads themselves, with their groups and sessions, are in [`tree`]; state that is not supported at
//! all is in [`unsupported`].
//!
//! The order of the tables is the order of the steps within a stage: aspects that drop privileges come last.

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

use std::time::Instant;

use crust_image::Record;
use crust_model::object::{Row, State};
use crust_model::plan::{ProcessId, TaskId};
use crust_model::refusal::Refusals;
use crust_model::{Error, Result};
use crust_tracee::frozen_process::FrozenProcess;
use crust_tracee::texts::Texts;

use self::sharing::Sharing;
pub use self::tree::Member;
pub use self::view::{ProcessView, ThreadView};
use crate::capture::Capture;
use crate::plan_context::PlanCx;

/// Returns the error for a missing or invalid field of `/proc/PID/status` that every kernel has.
fn missing(task: i32, field: &str) -> Error {
    Error::malformed(
        format!("/proc/{task}/status"),
        format!("has no valid `{field}`"),
    )
}

/// State that a process has once.
pub trait ProcessAspect: State {
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
pub trait ThreadAspect: State {
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

/// A line of [`PROCESS`].
pub struct ProcessEntry {
    row: Row,
    capture: fn(&ProcessView<'_>, &mut Capture<'_>) -> Result<()>,
    plan: fn(&Record, &mut PlanCx<'_>) -> Result<()>,
}

impl ProcessEntry {
    const fn of<T: ProcessAspect>() -> Self {
        Self {
            row: Row::of::<T>(),
            capture: |view, capture| {
                if let Some(state) = T::capture(view, capture)? {
                    capture.records.push(state.record(view.process.id.0, 0)?);
                }
                Ok(())
            },
            plan: |record, cx| T::from_record(record)?.plan(ProcessId(record.owner), cx),
        }
    }
}

/// A line of [`THREAD`].
pub struct ThreadEntry {
    row: Row,
    capture: fn(&ThreadView<'_>, &mut Capture<'_>) -> Result<()>,
    plan: fn(&Record, &mut PlanCx<'_>) -> Result<()>,
}

impl ThreadEntry {
    const fn of<T: ThreadAspect>() -> Self {
        Self {
            row: Row::of::<T>(),
            capture: |view, capture| {
                if let Some(state) = T::capture(view, capture)? {
                    let record = state.record(view.process.id.0, view.number)?;
                    capture.records.push(record);
                }
                Ok(())
            },
            plan: |record, cx| {
                let task = TaskId {
                    process: ProcessId(record.owner),
                    thread: record.part,
                };
                T::from_record(record)?.plan(task, cx)
            },
        }
    }
}

/// The aspects that a process has once.
pub static PROCESS: &[ProcessEntry] = &[
    ProcessEntry::of::<actions::Actions>(),
    ProcessEntry::of::<settings::Settings>(),
    ProcessEntry::of::<limits::Limits>(),
    ProcessEntry::of::<directories::Directories>(),
    ProcessEntry::of::<posix_timers::PosixTimers>(),
    ProcessEntry::of::<itimers::Itimers>(),
    ProcessEntry::of::<pending::Shared>(),
    ProcessEntry::of::<seccomp::Seccomp>(),
];

/// The aspects that each thread has.
pub static THREAD: &[ThreadEntry] = &[
    ThreadEntry::of::<name::Name>(),
    ThreadEntry::of::<scheduling::Scheduling>(),
    ThreadEntry::of::<timer_slack::Slack>(),
    ThreadEntry::of::<start_time::Started>(),
    ThreadEntry::of::<personality::Personality>(),
    ThreadEntry::of::<flags::Flags>(),
    ThreadEntry::of::<altstack::AltStack>(),
    ThreadEntry::of::<clear_child_tid::ClearChildTid>(),
    ThreadEntry::of::<rseq::Rseq>(),
    ThreadEntry::of::<robust::RobustList>(),
    ThreadEntry::of::<pending::Private>(),
    ThreadEntry::of::<shadow_stack::Features>(),
    ThreadEntry::of::<ioperm::Ports>(),
    ThreadEntry::of::<tls_segments::Segments>(),
    ThreadEntry::of::<core_sched::Core>(),
    ThreadEntry::of::<credentials::Credentials>(),
    ThreadEntry::of::<labels::Labels>(),
    ThreadEntry::of::<dispatch::Dispatch>(),
    ThreadEntry::of::<registers::Registers>(),
];

/// Returns the rows of all kinds of this family, for `inspect` and the list of what is supported.
pub fn rows() -> impl Iterator<Item = Row> {
    [Row::of::<tree::Member>(), Row::of::<usage::Usage>()]
        .into_iter()
        .chain(PROCESS.iter().map(|entry| entry.row))
        .chain(THREAD.iter().map(|entry| entry.row))
}

/// Captures everything of this family, of all processes.
///
/// # Errors
///
/// If something breaks; what cannot be carried over goes to [`Capture::refusals`] instead.
pub fn capture(texts: &[Texts], capture: &mut Capture<'_>) -> Result<()> {
    let tree = capture.tree;
    let begun = Instant::now();
    let sharing = sharing::look(capture)?;
    for ((process, texts), sharing) in tree.iter().zip(texts).zip(sharing) {
        capture_process(process, texts, sharing, capture)?;
    }
    tracing::debug!(took = ?begun.elapsed(), "tasks: all is captured");
    tree::check(capture)
}

fn capture_process(
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
    usage::capture(process, of_threads, capture)?;
    if let Some(view) = &view {
        for entry in PROCESS {
            (entry.capture)(view, capture)?;
        }
    }
    for ((number, thread), text) in process.numbered().zip(of_threads) {
        let view = ThreadView::new(process, number, thread, text, capture)?;
        unsupported::check_thread(&view, capture)?;
        for entry in THREAD {
            (entry.capture)(&view, capture)?;
        }
    }
    Ok(())
}

/// Plans everything of this family, for all processes.
///
/// # Errors
///
/// If the image is inconsistent; what prevents the restore goes to [`PlanCx::refusals`] instead.
pub fn plan(cx: &mut PlanCx<'_>) -> Result<()> {
    tree::plan(cx)?;
    usage::plan(cx)?;
    core_sched::plan(cx)?;
    let records = cx.records;
    for entry in PROCESS {
        for record in records.iter().filter(|record| record.tag == entry.row.tag) {
            (entry.plan)(record, cx)?;
        }
    }
    for entry in THREAD {
        for record in records.iter().filter(|record| record.tag == entry.row.tag) {
            (entry.plan)(record, cx)?;
        }
    }
    Ok(())
}

/// Refuses what this machine lacks for the tasks of an image.
///
/// # Errors
///
/// If a record cannot be decoded.
pub fn conflicts(records: &[Record], refusals: &mut Refusals) -> Result<()> {
    registers::conflicts(records, refusals)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn tags_are_unique_and_of_this_family() {
        let rows: Vec<_> = rows().collect();
        let tags: BTreeSet<u16> = rows.iter().map(|row| row.tag).collect();
        assert_eq!(tags.len(), rows.len());
        assert!(tags.iter().all(|tag| (0x0100..0x0200).contains(tag)));
    }
}
