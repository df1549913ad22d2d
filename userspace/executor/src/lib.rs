// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Executes a plan: creates the tasks, makes each of them carry out its steps, and releases all at
//! once.
//!
//! Stage by stage, each task runs its system calls in batches, all tasks at the same time
//! ([`round`]); contents of the image are read by such calls too ([`preadv`], [`work`]). Steps that
//! are not system calls are done from outside between two batches ([`steps`], [`handle`]). In the end registers and signal masks are set ([`finish`]). If anything
//! fails, no task is left behind: all tasks created so far are killed when the executor is dropped.
//!
//! It knows steps, but no kind of object: what only one kind needs is an
//! [`Operation`](crust_model::plan::Operation), which it runs without knowing what it is.

#![forbid(unsafe_code)]
// Only tests cast numbers freely: they have chosen them.
#![cfg_attr(
    not(test),
    warn(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        clippy::cast_lossless
    )
)]

pub mod core_dump;
#[cfg(test)]
mod dead_task;
pub mod fill;
pub mod finish;
pub mod handle;
pub mod limits;
pub mod preadv;
pub mod round;
pub mod steps;
pub mod stops;
pub mod work;

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Instant;

use crust_hooks::module::Ckpt;
use crust_model::observer::{Observer, Point};
use crust_model::plan::{Call, Offsets, Plan, Planned, Processor, Stage, StayStopped, TaskId};
use crust_model::refusal::Refusals;
use crust_model::{Error, Result};
use crust_sys::{ptrace, wait};
use crust_tracee::clock;
use crust_tracee::interrupt::Interrupts;
use crust_tracee::remote::Caller;
use nix::time::ClockId;

pub use self::finish::Restored;
use self::work::{Steps, Work};

/// A task that exists.
struct Live {
    caller: Caller,
    /// The results of the steps that it has done since the last barrier.
    results: Vec<u64>,
    /// The result of a call that was restarted, if it has returned.
    reentered: Option<i64>,
    processor: Option<Box<Processor>>,
    /// Operations to run when the task makes no more calls for us.
    at_end: Vec<Planned>,
    /// Whether it has its registers, and no scratch memory any more.
    complete: bool,
    /// Whether it has exited, and is a zombie.
    ended: bool,
}

/// Tasks being created. Dropping this kills them.
struct Executor<'a> {
    plan: &'a Plan,
    image: &'a File,
    module: Option<&'a Ckpt>,
    tasks: BTreeMap<TaskId, Live>,
    numbers: round::Numbers,
    /// Processes that stay stopped.
    stops: Vec<(TaskId, StayStopped)>,
    /// Calls to make when all batches are done.
    last: Vec<(TaskId, Call)>,
    /// Interrupted calls to restart after that.
    reenters: Vec<(TaskId, Call)>,
    /// The offsets that the time namespace of the tree adds to the clocks.
    offsets: Offsets,
    /// The losses found so far.
    losses: Refusals,
}

/// Executes a plan.
///
/// # Errors
///
/// Returns the first failure, which names the operation, or the veto of the observer. No task is
/// left.
pub fn execute<'a>(
    plan: &'a Plan,
    image: &'a File,
    module: Option<&'a Ckpt>,
    interrupts: &Interrupts,
    observer: &mut dyn Observer,
) -> Result<Restored<'a>> {
    let mut executor = Executor::new(plan, image, module);
    let stages: Vec<(Stage, &Steps)> = plan
        .stages()
        .iter()
        .map(|(&stage, steps)| (stage, steps))
        .collect();
    let fill = plan.stages().get(&Stage::FillMemory);
    let is_much = fill.is_some_and(fill::is_much);
    let is_parallel = |stage: Stage| is_much && stage == Stage::FillMemory;
    for together in stages.chunk_by(|&(before, _), &(next, _)| {
        !plan.waits(before, next) && !is_parallel(before) && !is_parallel(next)
    }) {
        interrupts.check()?;
        let begun = Instant::now();
        let work = work::merge(together, plan);
        let (first, last) = (together[0].0, together[together.len() - 1].0);
        if is_parallel(first) {
            executor.fill(work)?;
        } else if first == Stage::ShadowStacks {
            for (task, steps) in work {
                executor.run(&Work::from([(task, steps)]))?;
            }
        } else {
            executor.run(&work)?;
        }
        observer.ask(&Point::Stages {
            first,
            last,
            took: begun.elapsed(),
        })?;
    }
    let begun = Instant::now();
    executor.finish()?;
    tracing::debug!(took = ?begun.elapsed(), "registers are set");
    Ok(Restored::new(executor))
}

impl Live {
    fn new(caller: Caller) -> Self {
        Self {
            caller,
            results: Vec::new(),
            reentered: None,
            processor: None,
            at_end: Vec::new(),
            complete: false,
            ended: false,
        }
    }
}

impl<'a> Executor<'a> {
    fn new(plan: &'a Plan, image: &'a File, module: Option<&'a Ckpt>) -> Self {
        Self {
            plan,
            image,
            module,
            tasks: BTreeMap::new(),
            numbers: round::Numbers::default(),
            stops: Vec::new(),
            last: Vec::new(),
            reenters: Vec::new(),
            offsets: Offsets::default(),
            losses: Refusals::default(),
        }
    }

    /// Returns the value of a clock as the tasks see it.
    fn now(&self, clock: i32) -> u64 {
        match clock {
            libc::CLOCK_MONOTONIC => {
                clock::monotonic().saturating_add_signed(self.offsets.monotonic)
            }
            libc::CLOCK_BOOTTIME => clock::boottime().saturating_add_signed(self.offsets.boottime),
            // A plan has no other clocks than these and the realtime clocks.
            _ => clock::read(ClockId::from_raw(clock)).unwrap_or_default(),
        }
    }

    fn live(&mut self, task: TaskId) -> Result<&mut Live> {
        self.tasks
            .get_mut(&task)
            .ok_or_else(|| Error::malformed(format!("task {task} of the plan"), "it is not there"))
    }
}

impl Drop for Executor<'_> {
    /// Kills the tasks that were created and not released, and waits until they are gone.
    fn drop(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        // Children of dead tasks are reparented to us, and reaped.
        let reaper = nix::sys::prctl::get_child_subreaper().unwrap_or(false);
        let _ = nix::sys::prctl::set_child_subreaper(true);
        for live in self.tasks.values() {
            let pid = nix::unistd::Pid::from_raw(live.caller.pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        // First wait as their tracer, then, for leaders, as their parent. The exit of a leader is
        // reported when its other threads are gone, and these exit in order (see kill.rs).
        let all = || self.tasks.iter();
        let others = || all().filter(|(task, _)| task.thread != 0);
        let leaders = || all().filter(|(task, _)| task.thread == 0).rev();
        for _ in 0..2 {
            for (_, live) in others().chain(leaders()) {
                while let Ok((_, status)) = wait::wait(live.caller.tid) {
                    if status.is_end() {
                        break;
                    }
                    let _ = ptrace::cont(live.caller.tid, 0);
                }
            }
        }
        let _ = nix::sys::prctl::set_child_subreaper(reaper);
    }
}
