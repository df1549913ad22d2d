// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The end of a restore: scratch memory is unmapped, registers are set, and all tasks are released.

use crust_model::plan::{ProcessId, TaskId, scratch};
use crust_model::refusal::Refusals;
use crust_model::{Error, Result};
use crust_sys::{ptrace, task, word};
use crust_tracee::remote::{Caller, error_number};
use crust_tracee::syscall_timeout::resume::{self, Waiting};
use nix::errno::Errno;

use crate::{Executor, Live};

/// A tree that is complete and stopped. Dropping it kills it; [`release`](Self::release) lets it
/// run.
pub struct Restored<'a>(Executor<'a>);

impl<'a> Restored<'a> {
    pub(super) fn new(executor: Executor<'a>) -> Self {
        Self(executor)
    }

    /// Returns the pid of the root.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.0
            .tasks
            .get(&ProcessId(0).leader())
            .map_or(0, |root| root.caller.pid)
    }

    /// Takes the losses that were found during the restore.
    pub fn take_losses(&mut self) -> Refusals {
        std::mem::take(&mut self.0.losses)
    }

    /// Releases all tasks together; from here on they run on their own.
    ///
    /// # Errors
    ///
    /// Fails if one of the tasks has died.
    pub fn release(mut self, stopped: bool) -> Result<()> {
        let executor = &mut self.0;
        executor.tasks.retain(|_, live| !live.ended);
        let failed = |tid: i32| move |errno| Error::task(tid, "let it go", errno);
        if stopped {
            let mut last = 0;
            for live in executor.tasks.values() {
                let Caller { pid, tid, .. } = live.caller;
                if std::mem::replace(&mut last, pid) != pid {
                    task::tgkill(pid, tid, libc::SIGSTOP).map_err(failed(tid))?;
                }
            }
        }
        // This is the last step that can fail; a task that has been released cannot be called back.
        for live in executor.tasks.values() {
            let tid = live.caller.tid;
            ptrace::set_options(tid, ptrace::option::SYSGOOD).map_err(failed(tid))?;
        }
        let tasks = std::mem::take(&mut executor.tasks);
        let waiting: Vec<_> = tasks.values().filter_map(waiting).collect();
        resume::let_go(&waiting);
        for live in tasks.values() {
            // Ignore tasks that have already exited.
            let _ = ptrace::detach(live.caller.tid, 0);
        }
        resume::note(&waiting);
        Ok(())
    }
}

/// Returns a task that continues with the remaining time of a timeout.
fn waiting(live: &Live) -> Option<Waiting> {
    let limit = live.processor.as_ref()?.limit?;
    let Caller { pid, tid, .. } = live.caller;
    match live.reentered {
        None => Waiting::new(pid, tid, limit),
        // The call returned without waiting again.
        Some(_) => None,
    }
}

impl Executor<'_> {
    /// Takes the last steps: unmaps scratch memory and sets registers.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.call_at_last()?;
        self.reenter_calls()?;
        self.stop_processes()?;
        let left: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(_, live)| !live.ended && !live.complete)
            .map(|(&task, _)| task)
            .collect();
        let mut last = None;
        for &task in &left {
            // Only one thread of each process.
            if last.replace(task.process) != Some(task.process) {
                self.unmap_scratch(task)?;
            }
        }
        for task in left {
            self.complete(task)?;
        }
        Ok(())
    }

    /// Unmaps the scratch memory of a task's process.
    pub(super) fn unmap_scratch(&mut self, task: TaskId) -> Result<()> {
        let args = [self.plan.scratch.0, scratch::TOTAL];
        let what = "unmap scratch memory";
        let caller = &self.live(task)?.caller;
        let value = caller.call_into_stop(what, libc::SYS_munmap, &args)?;
        match error_number(word::from_long(value)) {
            Some(errno) => Err(Error::task(caller.tid, what, errno)),
            None => Ok(()),
        }
    }

    /// Sets the registers and the signal mask of a task.
    pub(super) fn complete(&mut self, task: TaskId) -> Result<()> {
        let live = self.live(task)?;
        let tid = live.caller.tid;
        let failed = |errno| Error::task(tid, "set its registers", errno);
        let Some(processor) = &live.processor else {
            return Err(Error::malformed(
                format!("task {task} of the plan"),
                "it has no registers",
            ));
        };
        let mut registers = ptrace::registers_from_bytes(&processor.general)
            .ok_or_else(|| failed(Errno::EINVAL))?;
        if let Some(value) = live.reentered {
            // The call did not have to wait again: it returns.
            registers.rax = word::from_long(value);
            registers.orig_rax = u64::MAX;
        }
        ptrace::set_xstate(tid, &processor.xstate)
            .map_err(|errno| Error::task(tid, "set its extended state", errno))?;
        if processor.enters {
            live.caller.begin_again(&registers)?;
        } else {
            ptrace::set_registers(tid, &registers).map_err(failed)?;
        }
        ptrace::set_signal_mask(tid, processor.signal_mask).map_err(failed)?;
        live.complete = true;
        for operation in std::mem::take(&mut live.at_end) {
            self.operate(task, &operation)?;
        }
        Ok(())
    }
}
