// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Reading much memory back: a process gets additional threads for that, which exit when all is
//! read.
//!
//! A page costs as much to allocate as to fill, and the kernel does both in the thread that asks.

use crust_model::plan::{Step, TaskId};
use crust_model::{Error, Result};
use crust_tracee::parallel;

use crate::work::{Steps, Todo, Work};
use crate::{Executor, preadv};

/// The number of calls in `Stage::FillMemory` from which on more threads are worth it. 2 MiB of
/// adjacent pages are read by two calls ([`preadv`]).
const MUCH: usize = 64;

/// The maximum number of threads that read.
const THREADS: usize = 4;

/// Returns whether a process has so much to read that it gets additional threads.
pub(super) fn is_much(steps: &Steps) -> bool {
    let calls = |step: &Step| match step {
        Step::Fill(fill) => preadv::count(fill),
        _ => 1,
    };
    let mut of_tasks = steps.values();
    of_tasks.any(|steps| steps.iter().map(calls).sum::<usize>() >= MUCH)
}

impl Executor<'_> {
    /// Does the work of `Stage::FillMemory`, whose steps do not depend on each other.
    pub(super) fn fill(&mut self, mut work: Work<'_>) -> Result<()> {
        let threads = parallel::processors().min(THREADS);
        let large: Vec<TaskId> = work
            .iter()
            .filter(|(_, steps)| steps.len() >= MUCH)
            .map(|(&task, _)| task)
            .collect();
        let mut helpers = Vec::new();
        for task in large {
            let made = self.make_helpers(task, threads - 1)?;
            let mut all = work.remove(&task).unwrap_or_default().into_iter();
            let share = all.len().div_ceil(threads);
            for reader in std::iter::once(task).chain(made.iter().copied()) {
                work.insert(reader, all.by_ref().take(share).collect());
            }
            helpers.extend(made);
        }
        self.run(&work)?;
        helpers.into_iter().try_for_each(|task| self.dismiss(task))
    }

    /// Creates additional threads of a process, with ids that no thread of the image has.
    fn make_helpers(&mut self, task: TaskId, count: usize) -> Result<Vec<TaskId>> {
        let helper = |number: u32| TaskId {
            thread: u32::MAX - number,
            ..task
        };
        let helpers: Vec<TaskId> = (0..).take(count).map(helper).collect();
        let steps: Vec<Step> = helpers
            .iter()
            .map(|&thread| Step::SpawnThread {
                thread,
                tid: Vec::new(),
            })
            .collect();
        if !steps.is_empty() {
            let steps = steps.iter().map(Todo::Step).collect();
            self.run(&Work::from([(task, steps)]))?;
        }
        Ok(helpers)
    }

    /// Ends a helper thread. Its id is free again afterwards: a thread of the image may have it.
    fn dismiss(&mut self, task: TaskId) -> Result<()> {
        const WHAT: &str = "end a thread that has read memory";
        let caller = &self.live(task)?.caller;
        let tid = caller.tid;
        caller.leave(WHAT, libc::SYS_exit, &[0])?;
        loop {
            let (_, status) =
                crust_sys::wait::wait(tid).map_err(|errno| Error::task(tid, WHAT, errno))?;
            if status.is_end() {
                break;
            }
        }
        self.tasks.remove(&task);
        Ok(())
    }
}
