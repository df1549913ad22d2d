// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Rounds: in each of them, every task that has work left runs one batch of calls, all at the same
//! time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crust_model::plan::{Call, Plan, ProcessId, Step, TaskId, scratch};
use crust_model::{Error, Result};
use crust_sys::stub::Entry;
use crust_sys::{RemoteAddr, memory, word};
use crust_tracee::batch::{self, Batch, Returned, layout};
use crust_tracee::remote::{self, Caller, END_OF_BATCH};
use crust_tracee::spawn;
use nix::errno::Errno;
use zerocopy::FromBytes;

use crate::work::{Todo, Work};
use crate::{Executor, Live};

/// A batch that is being executed.
struct Running<'w> {
    task: TaskId,
    start: RemoteAddr,
    /// The range of steps in the batch.
    steps: std::ops::Range<usize>,
    calls: Vec<Cow<'w, Call>>,
    entry_bytes: usize,
}

/// Process ids that are still taken by dead tasks: the kernel reports the end of a process before
/// the id of its last thread is free (kernel/exit.c:release_task).
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// When we began to wait.
    since: Option<Instant>,
}

impl Numbers {
    const PATIENCE: Duration = Duration::from_millis(500);
    const PAUSE: Duration = Duration::from_millis(1);

    /// Waits a moment; returns `false` if the patience is exhausted.
    pub(super) fn wait(&mut self) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        std::thread::sleep(Self::PAUSE);
        since.elapsed() < Self::PATIENCE
    }
}

/// Returns whether a task of the plan is to have this id.
fn is_planned(plan: &Plan, number: i32) -> bool {
    let mut steps = plan.stages().values().flat_map(BTreeMap::values).flatten();
    steps.any(|step| match step {
        Step::SpawnChild { pid, .. } => pid.contains(&number),
        Step::SpawnThread { tid, .. } => tid.contains(&number),
        _ => false,
    })
}

/// Returns whether an operation failed because an id was taken.
fn is_taken<T>(result: &Result<T>) -> bool {
    matches!(
        result,
        Err(Error::Task {
            errno: Errno::EEXIST,
            ..
        } | Error::System {
            errno: Errno::EEXIST,
            ..
        })
    )
}

impl Executor<'_> {
    /// Makes all tasks do their work, in rounds.
    pub(super) fn run(&mut self, work: &Work<'_>) -> Result<()> {
        for live in self.tasks.values_mut() {
            live.results.clear();
        }
        let mut left = work.len();
        // The tasks that exist and have something left to do.
        let mut ready: Vec<TaskId> = work
            .iter()
            .filter(|(task, steps)| self.done(**task, steps).is_some())
            .map(|(&task, _)| task)
            .collect();
        while left > 0 {
            if ready.is_empty() {
                return Err(Error::malformed(
                    "the plan",
                    "it has steps of a task that nobody makes",
                ));
            }
            let mut running = Vec::new();
            let mut used = BTreeMap::new();
            let mut next = Vec::new();
            for task in ready {
                let steps = &work[&task];
                let done = self.done(task, steps).unwrap_or_default();
                let after = self.alone(task, steps, done)?;
                if after == steps.len() {
                    left -= 1;
                } else {
                    next.push(task);
                    running.extend(self.begin(task, steps, after, &mut used)?);
                }
            }
            for batch in running {
                let steps = &work[&batch.task];
                let made = self.end(batch, steps)?;
                next.extend(made.into_iter().filter(|task| work.contains_key(task)));
            }
            next.retain(|&task| {
                let steps = &work[&task];
                let over = self.done(task, steps) == Some(steps.len());
                left -= usize::from(over);
                !over
            });
            ready = next;
        }
        Ok(())
    }

    /// Returns how many of its steps a task has done; `None` if it does not exist yet.
    fn done(&self, task: TaskId, steps: &[Todo<'_>]) -> Option<usize> {
        match (self.tasks.get(&task), steps.first()) {
            (Some(live), _) => Some(live.results.len()),
            // We create the root ourselves.
            (None, Some(Todo::Step(Step::SpawnChild { child, .. }))) if child.leader() == task => {
                Some(0)
            }
            (None, _) => None,
        }
    }

    /// Does the steps from index `from` on that are not calls; returns the index of the first one
    /// that is.
    fn alone(&mut self, task: TaskId, steps: &[Todo<'_>], from: usize) -> Result<usize> {
        let mut at = from;
        while let Some(todo) = steps.get(at) {
            match todo {
                Todo::Step(Step::SpawnChild { child, pid, .. }) if child.leader() == task => {
                    self.make_root(task, pid)?;
                }
                Todo::Call(_) => break,
                todo if todo.is_birth() => break,
                Todo::Step(step) => self.step(task, step)?,
            }
            self.live(task)?.results.push(0);
            at += 1;
        }
        Ok(at)
    }

    fn make_root(&mut self, task: TaskId, pid: &[i32]) -> Result<()> {
        let mut root = spawn::root(self.plan, pid, self.image);
        while is_taken(&root) && self.numbers.wait() {
            root = spawn::root(self.plan, pid, self.image);
        }
        let (caller, offsets) = root?;
        self.offsets = offsets;
        self.tasks.insert(task, Live::new(caller));
        Ok(())
    }

    /// Starts a task on as many of its calls as fit. Returns `None` if another round has to do it,
    /// because other threads of its process use the scratch memory.
    fn begin<'w>(
        &mut self,
        task: TaskId,
        steps: &'w [Todo<'_>],
        from: usize,
        used: &mut BTreeMap<ProcessId, u64>,
    ) -> Result<Option<Running<'w>>> {
        let first = used.entry(task.process).or_insert(layout::BATCHES);
        let room = word::to_size(scratch::SIZE - *first);
        let mut calls = Vec::new();
        let mut size = 0;
        for todo in &steps[from..] {
            let call = match todo {
                Todo::Call(call) => call.now(|clock| self.now(clock)),
                Todo::Step(Step::SpawnChild {
                    pid,
                    exit_signal,
                    flags,
                    ..
                }) => Cow::Owned(spawn::child(pid, *exit_signal, *flags)),
                Todo::Step(Step::SpawnThread { tid, .. }) => Cow::Owned(spawn::thread(tid)),
                Todo::Step(_) => break,
            };
            size += batch::size(&call);
            if size > room {
                break;
            }
            calls.push(call);
        }
        if calls.is_empty() {
            if *first == layout::BATCHES {
                return Err(Error::malformed(
                    format!("task {task} of the plan"),
                    "a call has more data than there is scratch memory",
                ));
            }
            return Ok(None);
        }
        let start = self.plan.scratch.offset(*first);
        let live = self
            .tasks
            .get(&task)
            .ok_or_else(|| Error::malformed(format!("task {task}"), "it is not there"))?;
        let batch = Batch::encode(calls.iter().map(AsRef::as_ref), start, |reference| {
            let step = reference as usize;
            if let Some(value) = live.results.get(step) {
                Ok(Returned::Value(*value))
            } else {
                Ok(Returned::Here(step - from))
            }
        })?;
        *first = (*first + batch.bytes.len() as u64).next_multiple_of(64);
        let caller = &live.caller;
        memory::write(caller.tid, start, &batch.bytes)
            .map_err(|errno| Error::task(caller.tid, "write a batch", errno))?;
        let end = start.offset(batch.entry_bytes() as u64);
        let at = |offset| self.plan.scratch.offset(offset);
        caller.begin_batch(at(layout::CODE), (start, end), END_OF_BATCH)?;
        Ok(Some(Running {
            task,
            start,
            steps: from..from + calls.len(),
            entry_bytes: batch.entry_bytes(),
            calls,
        }))
    }

    /// Waits for the end of a batch; returns the tasks that it has created.
    fn end(&mut self, batch: Running<'_>, steps: &[Todo<'_>]) -> Result<Vec<TaskId>> {
        let code = self.plan.scratch.offset(layout::CODE);
        let live = self.live(batch.task)?;
        let Caller { pid, tid, .. } = live.caller;
        let stopped = live.caller.end_batch(code, END_OF_BATCH, &mut Vec::new())?;
        let mut entries = vec![0; batch.entry_bytes];
        memory::read(tid, batch.start, &mut entries)
            .map_err(|errno| Error::task(tid, "read what a batch returned", errno))?;
        let stopped = word::to_size(stopped.0 - batch.start.0) / size_of::<Entry>();
        let calls = || batch.calls.iter().map(AsRef::as_ref);
        let mut results = batch::results(tid, calls(), &entries, stopped);
        let failed = steps[batch.steps.clone()].get(stopped);
        if failed.is_some_and(Todo::is_birth) && is_taken(&results) {
            // The next round tries again.
            if self.numbers.wait() {
                results = batch::results(tid, calls().take(stopped), &entries, stopped);
            }
        }
        // Children that were created before the failed call exist, and must not be forgotten.
        let mut made = Vec::new();
        let plan = self.plan;
        let mut is_in_the_way = false;
        let live = self.live(batch.task)?;
        for (index, todo) in steps[batch.steps.clone()].iter().enumerate().take(stopped) {
            let entry = &entries[index * size_of::<Entry>()..][..size_of::<Entry>()];
            let number =
                Entry::read_from_bytes(entry).map_or(0, |entry| word::to_int(entry.result));
            match todo {
                Todo::Step(Step::SpawnChild { child, pid, .. }) => {
                    made.push((child.leader(), number, number));
                    is_in_the_way |= pid.is_empty() && is_planned(plan, number);
                }
                Todo::Step(Step::SpawnThread { thread, .. }) => made.push((*thread, pid, number)),
                _ => {}
            }
        }
        let parent = live.caller.clone();
        if let Ok(results) = &results {
            live.results.extend(results);
        }
        for &(task, pid, tid) in &made {
            let caller = Caller {
                pid,
                tid,
                ..parent.clone()
            };
            self.tasks.insert(task, Live::new(caller));
        }
        results?;
        if is_in_the_way {
            return Err(Error::system(
                "make a process with a number that the tree does not need",
                Errno::EAGAIN,
            ));
        }
        for &(_, _, tid) in &made {
            remote::await_event_stop(tid, "wait for its first stop", &mut Vec::new())?;
        }
        Ok(made.into_iter().map(|(task, ..)| task).collect())
    }
}

#[cfg(test)]
mod tests;
