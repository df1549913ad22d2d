// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Steps that are not calls in a batch: what crust does itself, and calls that do not return like
//! others.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crust_model::plan::{Call, Step, TaskId};
use crust_model::{Error, Result};
use crust_sys::errno::ERESTART_RESTARTBLOCK;
use crust_sys::wait::{self, Status};
use crust_sys::xstate::has_protection_keys;
use crust_sys::{RemoteAddr, memory, ptrace, word};
use crust_tracee::batch::{self, layout};
use crust_tracee::remote::END_OF_BATCH;
use nix::errno::Errno;

use crate::{Executor, core_dump};

impl Executor<'_> {
    /// Does a step that is not a call.
    pub(super) fn step(&mut self, task: TaskId, step: &Step) -> Result<()> {
        let tid = self.live(task)?.caller.tid;
        match step {
            Step::Write {
                label,
                address,
                bytes,
            } => write(tid, *address, bytes).map_err(|errno| Error::task(tid, label, errno)),
            Step::Operate(operation) => self.operate(task, operation),
            Step::OperateAtEnd(operation) => {
                self.live(task)?.at_end.push(operation.clone());
                Ok(())
            }
            Step::Dismiss { child } => self.dismiss_child(task, child.leader()),
            Step::Exit { status } => self.exit(task, *status),
            Step::ExitLeader { status } => self.exit_leader(task, *status),
            Step::Reenter(call) => {
                self.reenters.push((task, call.clone()));
                Ok(())
            }
            Step::CallAtLast(call) => {
                self.last.push((task, call.clone()));
                Ok(())
            }
            Step::SetProcessor(processor) => {
                self.live(task)?.processor = Some(processor.clone());
                Ok(())
            }
            Step::StayStopped(stop) => {
                self.stops.push((task, *stop));
                Ok(())
            }
            Step::Call(_) | Step::Fill(_) | Step::SpawnChild { .. } | Step::SpawnThread { .. } => {
                unreachable!("calls go into batches")
            }
        }
    }

    /// Makes a process exit such that it is a zombie that nobody has reaped.
    fn exit(&mut self, task: TaskId, status: i32) -> Result<()> {
        const WHAT: &str = "end as a zombie";
        let scratch = self.plan.scratch;
        let live = self.live(task)?;
        let caller = live.caller.clone();
        let tid = caller.tid;
        let failed = |errno| Error::task(tid, WHAT, errno);
        let at = |offset| scratch.offset(offset);
        match Status::from_raw(status) {
            Status::Killed(signal) => {
                let no_core = at(layout::BATCHES);
                memory::write(tid, no_core, &[0; 16]).map_err(failed)?;
                let args = [u64::from(libc::RLIMIT_CORE), no_core.0];
                if core_dump::is_in(status) && core_dump::is_possible() {
                    core_dump::prepare(&caller, self.plan)?;
                } else {
                    caller.call("set no core size", libc::SYS_setrlimit, &args)?;
                }
                // The batch is empty: the task stops for a signal, which can then be replaced by
                // another one.
                caller.begin_batch(at(layout::CODE), (no_core, no_core), END_OF_BATCH)?;
                caller.end_batch(at(layout::CODE), END_OF_BATCH, &mut Vec::new())?;
                ptrace::set_signal_mask(tid, 0)
                    .and_then(|()| ptrace::cont(tid, signal))
                    .map_err(failed)?;
            }
            _ => caller.leave(WHAT, libc::SYS_exit_group, &[exit_code(status)])?,
        }
        loop {
            match wait::wait(tid).map_err(failed)? {
                (_, status) if status.is_end() => break,
                _ => ptrace::cont(tid, 0).map_err(failed)?,
            }
        }
        self.live(task)?.ended = true;
        Ok(())
    }

    /// Kills a child, and makes its parent reap it.
    fn dismiss_child(&mut self, parent: TaskId, child: TaskId) -> Result<()> {
        const WHAT: &str = "dismiss a child";
        let pid = self.live(child)?.caller.pid;
        let failed = |errno| Error::task(pid, WHAT, errno);
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .map_err(failed)?;
        while !wait::wait(pid).map_err(failed)?.1.is_end() {}
        self.live(child)?.ended = true;
        let args = [word::from_int(pid), 0, libc::__WALL as u64, 0];
        self.live(parent)?
            .caller
            .call(WHAT, libc::SYS_wait4, &args)?;
        self.tasks.remove(&child);
        Ok(())
    }

    /// Makes a leader exit whose process continues.
    fn exit_leader(&mut self, task: TaskId, status: i32) -> Result<()> {
        const WHAT: &str = "end before its other threads";
        const PAUSE: Duration = Duration::from_micros(20);
        let live = self.live(task)?;
        let tid = live.caller.tid;
        let failed = |errno| Error::task(tid, WHAT, errno);
        // The exit of a leader would not be reported to anyone, so it is detached and runs alone, with
        // nothing ahead of it but this call.
        live.caller
            .detach(WHAT, libc::SYS_exit, &[exit_code(status)])?;
        live.ended = true;
        let proc = File::open(format!("/proc/{tid}"))
            .map_err(|error| failed(Errno::from_raw(error.raw_os_error().unwrap_or_default())))?;
        let name = format!("task/{tid}/stat");
        while crust_proc::stat(&proc, tid, &name)?.state != 'Z' {
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Restarts interrupted calls. All threads of a process share the same scratch memory for the
    /// data of these calls, so none may run a batch meanwhile.
    pub(super) fn reenter_calls(&mut self) -> Result<()> {
        for (task, call) in std::mem::take(&mut self.reenters) {
            self.reenter(task, &call)?;
        }
        Ok(())
    }

    fn reenter(&mut self, task: TaskId, call: &Call) -> Result<()> {
        let scratch = self.plan.scratch;
        let live = self.live(task)?;
        if let Some(processor) = live.processor.as_ref().filter(|_| has_protection_keys()) {
            // The call may read memory that only the thread itself has rights on.
            ptrace::set_xstate(live.caller.tid, &processor.xstate)
                .map_err(|errno| Error::task(live.caller.tid, "set its extended state", errno))?;
        }
        let args = batch::place(&live.caller, scratch.offset(layout::BATCHES), call)?;
        let value = live.caller.call_into_stop(&call.label, call.nr, &args)?;
        if value != -ERESTART_RESTARTBLOCK {
            live.reentered = Some(value);
        }
        Ok(())
    }

    /// Makes the calls that had to wait for the end of all batches, because a batch needs a signal
    /// of its own.
    pub(super) fn call_at_last(&mut self) -> Result<()> {
        if self.last.is_empty() {
            return Ok(());
        }
        for live in self.tasks.values().filter(|live| !live.ended) {
            let tid = live.caller.tid;
            ptrace::set_signal_mask(tid, u64::MAX)
                .map_err(|errno| Error::task(tid, "block all signals", errno))?;
        }
        let scratch = self.plan.scratch;
        for (task, call) in std::mem::take(&mut self.last) {
            let caller = &self.live(task)?.caller;
            let args = batch::place(caller, scratch.offset(layout::BATCHES), &call)?;
            caller.call(&call.label, call.nr, &args)?;
        }
        Ok(())
    }
}

/// Returns the argument of `exit` that a wait status reports (`WEXITSTATUS` in wait(2)).
fn exit_code(status: i32) -> u64 {
    word::from_int(status >> 8 & 0xff)
}

/// Writes into the memory of a task, even where the task itself could not write.
fn write(tid: i32, address: RemoteAddr, bytes: &[u8]) -> nix::Result<()> {
    match memory::write(tid, address, bytes) {
        Err(Errno::EFAULT) => File::options()
            .write(true)
            .open(format!("/proc/{tid}/mem"))
            .and_then(|file| file.write_all_at(bytes, address.0))
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default())),
        result => result,
    }
}
