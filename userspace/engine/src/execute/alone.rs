// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Steps that are no calls of a batch: what crust does itself, and calls that do not return as others.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crust_sys::stub::TileConfig;
use crust_sys::wait::{self, Status};
use crust_sys::xstate::has_protection_keys;
use crust_sys::{RemoteAddr, memory, pidfd, ptrace, stub};
use nix::errno::Errno;
use zerocopy::IntoBytes;

use super::{Executor, core_dump, ring, terminal};
use crate::batch::{self, layout};
use crate::clock;
use crate::plan::{Call, Step, TaskId};
use crate::remote::{Caller, END_OF_BATCH};
use crate::{Error, Result, procfs};

/// The kernel's `-ERESTART_RESTARTBLOCK`: how the call goes on is in the kernel.
const RESTART_BLOCK: i64 = -516;

/// How often a request to the module is made again that lost a race with an exiting process.
const RETRIES: u32 = 100;

impl Executor<'_> {
    /// A step that is no call.
    pub(super) fn step(&mut self, task: TaskId, step: &Step) -> Result<()> {
        let (module, scratch) = (self.module, self.plan.scratch);
        let (before, after) = (self.plan.clocks.before, self.offsets);
        let live = self.live(task)?;
        let Caller { pid, tid, .. } = live.caller;
        let without = || {
            Error::malformed(
                format!("task {task} of the plan"),
                "it needs the module, which is not there",
            )
        };
        match step {
            Step::Write {
                what,
                address,
                bytes,
            } => write(tid, *address, bytes).map_err(|errno| Error::task(tid, what, errno)),
            Step::OpenTerminal {
                index,
                number,
                flags,
            } => {
                let at = scratch.offset(layout::BATCHES);
                terminal::open(&live.caller, at, (*index, *number), *flags)
            }
            Step::WindRing { number, ring } => ring::wind(pid, *number, ring),
            Step::SetIds { pgid, sid } => {
                let what = format!("join group {pgid} of session {sid}");
                let failed = |errno| Error::task(tid, &what, errno);
                let device = module.ok_or_else(without)?.device();
                let handle = pidfd::open(pid).map_err(failed)?;
                for _ in 0..RETRIES {
                    match device.set_ids(handle.as_fd(), *pgid, *sid) {
                        Err(Errno::EAGAIN) => std::thread::sleep(Duration::from_millis(1)),
                        result => return result.map_err(failed),
                    }
                }
                Err(failed(Errno::EAGAIN))
            }
            Step::SetStart(boottime) => {
                let what = "set the start time";
                let failed = |errno| Error::task(tid, what, errno);
                let device = module.ok_or_else(without)?.device();
                let handle = match task.thread {
                    0 => pidfd::open(pid),
                    _ => pidfd::open_thread(tid),
                };
                let handle = handle.map_err(failed)?;
                // Nothing has begun before the machine, or will yet begin.
                let boottime = boottime
                    .saturating_add_signed(before.boottime - after.boottime)
                    .min(clock::boottime());
                // The kernel takes it as crust sees the clock.
                let boottime = boottime.saturating_add_signed(clock::own_offsets().boottime);
                let result = device.set_start(handle.as_fd(), boottime);
                self.unless_forbidden(tid, "start time", result)
                    .map_err(failed)
            }
            Step::AddUsage(usage) => {
                let failed = |errno| match errno {
                    Errno::EOVERFLOW => Error::malformed(
                        format!("the resources that process {pid} has used"),
                        "are more than can be: the image is damaged",
                    ),
                    _ => Error::task(tid, "add to the resources used", errno),
                };
                let device = module.ok_or_else(without)?.device();
                let handle = pidfd::open(pid).map_err(failed)?;
                let result = device.add_usage(handle.as_fd(), &usage.into());
                self.unless_forbidden(tid, "resources used", result)
                    .map_err(failed)
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
            Step::SetSegment(segment) => ptrace::set_segment(tid, *segment)
                .map_err(|errno| Error::task(tid, "set a segment", errno)),
            Step::MoveShadowStack { from, to } => move_shadow_stack(tid, *from, *to),
            Step::TouchTiles => {
                let (code, config) = (scratch.offset(layout::CODE), scratch.offset(layout::TILES));
                memory::write(tid, config, TileConfig::ONE_TILE.as_bytes())
                    .map_err(|errno| Error::task(tid, "write into scratch memory", errno))?;
                // A batch of nothing.
                let start = code.offset(stub::tiles());
                let caller = &live.caller;
                caller.begin_batch(start, (config, config), END_OF_BATCH)?;
                caller.end_batch(code, END_OF_BATCH, &mut Vec::new())?;
                Ok(())
            }
            Step::SetDispatch(config) => {
                live.dispatch = Some(*config);
                Ok(())
            }
            Step::SetProcessor(processor) => {
                live.processor = Some(processor.clone());
                Ok(())
            }
            Step::StayStopped(stop) => {
                self.stops.push((task, *stop));
                Ok(())
            }
            Step::Call(_) | Step::SpawnChild { .. } | Step::SpawnThread { .. } => {
                unreachable!("calls go into batches")
            }
        }
    }

    /// What can be seen from outside of the user namespace of crust, the kernel may not let it set: that is lost,
    /// and said once.
    fn unless_forbidden(
        &mut self,
        tid: i32,
        object: &str,
        result: nix::Result<()>,
    ) -> nix::Result<()> {
        if result != Err(Errno::EPERM) {
            return result;
        }
        if self
            .losses
            .as_slice()
            .iter()
            .all(|loss| loss.object != object)
        {
            self.losses.lose(
                tid,
                object,
                "the kernel does not let crust set it, as it is seen from outside of its user namespace: it begins \
                 anew",
                "restore it with CAP_CHECKPOINT_RESTORE in the user namespaces around it too",
            );
        }
        Ok(())
    }

    /// Ends a process as one ended that nobody has waited for.
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
                // An empty batch: it stops for a signal, which can be another one.
                caller.begin_batch(at(layout::CODE), (no_core, no_core), END_OF_BATCH)?;
                caller.end_batch(at(layout::CODE), END_OF_BATCH, &mut Vec::new())?;
                ptrace::set_signal_mask(tid, 0)
                    .and_then(|()| ptrace::cont(tid, signal))
                    .map_err(failed)?;
            }
            _ => caller.leave(WHAT, libc::SYS_exit_group, &[(status >> 8 & 0xff) as u64])?,
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

    /// Ends a child, and has its parent wait for it.
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
        let args = [pid as u64, 0, libc::__WALL as u64, 0];
        self.live(parent)?
            .caller
            .call(WHAT, libc::SYS_wait4, &args)?;
        self.tasks.remove(&child);
        Ok(())
    }

    /// Ends a leader whose process goes on.
    fn exit_leader(&mut self, task: TaskId, status: i32) -> Result<()> {
        const WHAT: &str = "end before its other threads";
        const PAUSE: Duration = Duration::from_micros(20);
        let live = self.live(task)?;
        let tid = live.caller.tid;
        let failed = |errno| Error::task(tid, WHAT, errno);
        // Nobody would be told of its end, for it is a leader; so it goes on alone, with nothing before it
        // but this call.
        let code = (status >> 8 & 0xff) as u64;
        live.caller.detach(WHAT, libc::SYS_exit, &[code])?;
        live.ended = true;
        let proc = File::open(format!("/proc/{tid}"))
            .map_err(|error| failed(Errno::from_raw(error.raw_os_error().unwrap_or_default())))?;
        let name = format!("task/{tid}/stat");
        while procfs::stat(&proc, tid, &name)?.state != 'Z' {
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Begins interrupted calls again. All threads of a process have the same scratch memory for what they need,
    /// so none may make a batch meanwhile.
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
            // It may look at memory that only the thread itself has rights on.
            ptrace::set_xstate(live.caller.tid, &processor.xstate)
                .map_err(|errno| Error::task(live.caller.tid, "set its extended state", errno))?;
        }
        let args = batch::place(&live.caller, scratch.offset(layout::BATCHES), call)?;
        let value = live.caller.call_into_stop(&call.what, call.nr, &args)?;
        if value != RESTART_BLOCK {
            live.reentered = Some(value);
        }
        Ok(())
    }

    /// Makes the calls that had to wait for the last of all batches, which need a signal of their own.
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
            caller.call(&call.what, call.nr, &args)?;
        }
        Ok(())
    }
}

/// Moves the pointer of a shadow stack from where the kernel must have set it.
fn move_shadow_stack(tid: i32, from: Option<u64>, to: u64) -> Result<()> {
    let made = ptrace::shadow_stack(tid)
        .map_err(|errno| Error::task(tid, "read the pointer of its shadow stack", errno))?;
    if let Some(from) = from.filter(|from| made != Some(*from)) {
        let what = format!(
            "have its shadow stack end at {from:#x}, and not at {:#x}",
            made.unwrap_or_default()
        );
        return Err(Error::task(tid, what, Errno::EEXIST));
    }
    ptrace::set_shadow_stack(tid, to)
        .map_err(|errno| Error::task(tid, "set the pointer of its shadow stack", errno))
}

/// Writes into memory of a task, also where it could not write itself.
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
