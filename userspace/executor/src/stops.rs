// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Processes that stay stopped, as by a signal, and parents that were told about it before.
//!
//! All threads of such a process are complete, and join the group-stop while they are traced: so
//! none of them executes anything. The parent is notified, as for any child, by `SIGCHLD` and by a
//! status to wait for; if it had been notified before the dump, that is undone. The parent is not
//! complete yet, so it can still be made to execute calls.

use crust_model::plan::{Call, Data, ProcessId, StayStopped, StopReported, TaskId};
use crust_model::{Error, Result};
use crust_sys::ptrace::{self, event};
use crust_sys::signal::{self, bit};
use crust_sys::task;
use crust_tracee::batch::{self, layout};
use crust_tracee::remote::{Caller, stopped};
use nix::errno::Errno;

use crate::Executor;

const WHAT: &str = "stay stopped";

impl Executor<'_> {
    /// Stops the processes that are to stay stopped, children before their parents.
    pub(super) fn stop_processes(&mut self) -> Result<()> {
        let mut stops = std::mem::take(&mut self.stops);
        stops.sort_by_key(|(task, _)| std::cmp::Reverse(*task));
        for (first, stop) in stops {
            self.complete_process(first)?;
            self.stop(first, stop.signal)?;
            let pid = self.live(first)?.caller.pid;
            for call in took_away(pid, &stop) {
                let threads = self.threads(stop.parent);
                let parent = *threads.first().unwrap_or(&stop.parent.leader());
                let scratch = self.plan.scratch.offset(layout::BATCHES);
                let caller = &self.live(parent)?.caller;
                let args = batch::place(caller, scratch, &call)?;
                caller.raw(&call.label, call.nr, &args)?;
            }
        }
        Ok(())
    }

    /// Unmaps the scratch memory of a process, and sets the registers of all its threads.
    fn complete_process(&mut self, first: TaskId) -> Result<()> {
        self.unmap_scratch(first)?;
        for task in self.threads(first.process) {
            self.complete(task)?;
        }
        Ok(())
    }

    /// Returns the threads of a process that have not exited.
    fn threads(&self, process: ProcessId) -> Vec<TaskId> {
        let leader = process.leader();
        let last = TaskId {
            thread: u32::MAX,
            ..leader
        };
        self.tasks
            .range(leader..=last)
            .filter(|(_, live)| !live.ended)
            .map(|(&task, _)| task)
            .collect()
    }

    fn stop(&mut self, first: TaskId, signal: i32) -> Result<()> {
        let threads = self.threads(first.process);
        let failed = |tid| move |errno| Error::task(tid, WHAT, errno);
        // Nothing else must happen to them meanwhile.
        for &task in &threads {
            let mask = if task == first {
                !bit(signal)
            } else {
                u64::MAX
            };
            let tid = self.live(task)?.caller.tid;
            ptrace::set_signal_mask(tid, mask).map_err(failed(tid))?;
        }
        for &task in &threads {
            let Caller { pid, tid, .. } = self.live(task)?.caller;
            if task == first {
                task::tgkill(pid, tid, signal).map_err(failed(tid))?;
            }
            join(tid, signal)?;
        }
        for &task in &threads {
            let live = self.live(task)?;
            let mask = live
                .processor
                .as_ref()
                .map_or(0, |processor| processor.signal_mask);
            let tid = live.caller.tid;
            ptrace::set_signal_mask(tid, mask).map_err(failed(tid))?;
        }
        Ok(())
    }
}

/// Resumes a thread until it has joined the group-stop of its process.
fn join(tid: i32, signal: i32) -> Result<()> {
    let failed = |errno| Error::task(tid, WHAT, errno);
    ptrace::cont(tid, 0).map_err(failed)?;
    loop {
        let with = match stopped(tid, WHAT)? {
            (got, event::STOP) if got == signal => return Ok(()),
            // The signal itself, which stops the first thread.
            (got, 0) if got == signal => signal,
            // The notification that there is a group-stop to join.
            (libc::SIGTRAP, event::STOP) => 0,
            _ => return Err(failed(Errno::EBUSY)),
        };
        ptrace::cont(tid, with).map_err(failed)?;
    }
}

/// Returns the calls by which a parent forgets what it had been told before. Nobody else can have
/// told it anything yet.
fn took_away(pid: i32, stop: &StayStopped) -> Vec<Call> {
    let mut calls = Vec::new();
    if stop.reported == StopReported::Status {
        let options = libc::WUNTRACED | libc::WNOHANG | libc::__WALL;
        let args = [pid.into(), 0.into(), options.into(), 0.into()];
        calls.push(Call::new(
            "forget that a child has stopped",
            libc::SYS_wait4,
            args,
        ));
    }
    if stop.reported != StopReported::Nothing && !stop.signal_waits {
        let args = [
            Data::words(&[bit(libc::SIGCHLD)]).into(),
            0.into(),
            Data::words(&[0, 0]).into(),
            signal::SET_SIZE.into(),
        ];
        let what = "forget the signal that a child has stopped";
        calls.push(Call::new(what, libc::SYS_rt_sigtimedwait, args));
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(reported: StopReported, signal_waits: bool) -> Vec<i64> {
        let stop = StayStopped {
            signal: libc::SIGSTOP,
            parent: ProcessId(0),
            reported,
            signal_waits,
        };
        took_away(7, &stop).iter().map(|call| call.nr).collect()
    }

    #[test]
    fn what_a_parent_forgets() {
        let (wait, signal) = (libc::SYS_wait4, libc::SYS_rt_sigtimedwait);
        assert!(numbers(StopReported::Nothing, false).is_empty());
        assert_eq!(numbers(StopReported::Signal, false), [signal]);
        assert!(numbers(StopReported::Signal, true).is_empty());
        assert_eq!(numbers(StopReported::Status, false), [wait, signal]);
        assert_eq!(numbers(StopReported::Status, true), [wait]);
    }
}
