// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Carrying out a plan, all or nothing.
//!
//! All tasks of a stage work at the same time: each gets as many of its calls as fit, all are set
//! off, and then each is waited for. What is no call (a write into memory, a request to the module) is
//! done by crust between two batches.
//!
//! Until [`Restored::release`] every task dies if crust does, or if anything fails.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crust_sys::ptrace;
use crust_sys::stub::Entry;
use crust_sys::wait::{self, Status};
use crust_sys::{RemoteAddr, memory, pidfd, task};
use nix::errno::Errno;
use zerocopy::FromBytes;

use crate::batch::{self, Batch, Returned, layout};
use crate::hooks::ckpt::Ckpt;
use crate::interrupt::Interrupts;
use crate::plan::{Call, Plan, ProcessId, Processor, Stage, Step, TaskId, reserved, scratch};
use crate::progress::{Phase, Progress};
use crate::remote::{self, Caller, error_number};
use crate::spawn;
use crate::{Error, Result};

/// The kernel's `-ERESTART_RESTARTBLOCK`: how the call goes on is in the kernel.
const RESTART_BLOCK: i64 = -516;

/// How often a request to the module is made again that lost a race with an exiting process.
const RETRIES: u32 = 100;

/// A task that there is.
struct Live {
    caller: Caller,
    /// What its steps of this stage returned.
    results: Vec<u64>,
    /// How a call that was begun again has returned, if it did.
    reentered: Option<i64>,
    processor: Option<Box<Processor>>,
    /// It is a zombie.
    ended: bool,
}

/// Tasks in the making. Dropped, they are gone.
struct Executor<'a> {
    plan: &'a Plan,
    image: &'a File,
    module: Option<&'a Ckpt>,
    tasks: BTreeMap<TaskId, Live>,
    /// Signals by which processes stay stopped.
    stops: Vec<(TaskId, i32)>,
}

/// A tree that is complete and stands still. Dropped, it is gone; [`release`](Self::release) lets
/// it go.
pub struct Restored<'a>(Executor<'a>);

/// A batch that is under way.
struct Running {
    task: TaskId,
    start: RemoteAddr,
    /// The steps of the stage that it makes.
    steps: std::ops::Range<usize>,
    calls: Vec<Call>,
    entry_bytes: usize,
}

/// Carries out a plan.
///
/// # Errors
///
/// The first thing that failed, by its name. No task is left.
pub fn execute<'a>(
    plan: &'a Plan,
    image: &'a File,
    module: Option<&'a Ckpt>,
    interrupts: &Interrupts,
    progress: &mut dyn Progress,
) -> Result<Restored<'a>> {
    let mut executor = Executor {
        plan,
        image,
        module,
        tasks: BTreeMap::new(),
        stops: Vec::new(),
    };
    for (&stage, steps) in &plan.stages {
        interrupts.check()?;
        let begun = Instant::now();
        executor.stage(stage, steps)?;
        progress.phase(&Phase::Stage {
            stage,
            took: begun.elapsed(),
        });
    }
    executor.finish()?;
    Ok(Restored(executor))
}

impl Restored<'_> {
    /// The pid of the root.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.0
            .tasks
            .get(&ProcessId(0).leader())
            .map_or(0, |root| root.caller.pid)
    }

    /// Lets all tasks go together; from here on they are on their own.
    ///
    /// # Errors
    ///
    /// If one of them has died.
    pub fn release(mut self, stopped: bool) -> Result<()> {
        let executor = &mut self.0;
        executor.tasks.retain(|_, live| !live.ended);
        let failed = |tid: i32| move |errno| Error::task(tid, "let it go", errno);
        for (task, signal) in &executor.stops {
            if let Some(live) = executor.tasks.get(task) {
                let Caller { pid, tid, .. } = live.caller;
                task::tgkill(pid, tid, *signal).map_err(failed(tid))?;
            }
        }
        if stopped {
            for live in executor.tasks.values() {
                let Caller { pid, tid, .. } = live.caller;
                if pid == tid {
                    task::tgkill(pid, tid, libc::SIGSTOP).map_err(failed(tid))?;
                }
            }
        }
        // The last that can fail; a task that is let go cannot be called back.
        for live in executor.tasks.values() {
            let tid = live.caller.tid;
            ptrace::set_options(tid, ptrace::option::SYSGOOD).map_err(failed(tid))?;
        }
        for (_, live) in std::mem::take(&mut executor.tasks) {
            let _ = ptrace::detach(live.caller.tid, 0);
        }
        Ok(())
    }
}

impl Executor<'_> {
    /// Carries out a stage.
    fn stage(&mut self, stage: Stage, steps: &BTreeMap<TaskId, Vec<Step>>) -> Result<()> {
        for live in self.tasks.values_mut() {
            live.results.clear();
        }
        let mut left = steps.values().filter(|steps| !steps.is_empty()).count();
        while left > 0 {
            let mut running = Vec::new();
            let mut used = BTreeMap::new();
            let mut moved = false;
            for (&task, steps) in steps {
                let done = self.done(task, steps)?;
                if done == Some(steps.len()) {
                    continue;
                }
                // It may still have to be made.
                let Some(done) = done else { continue };
                moved = true;
                let after = self.alone(task, steps, done)?;
                if after == steps.len() {
                    left -= 1;
                } else if let Some(batch) = self.begin(task, steps, after, &mut used)? {
                    running.push(batch);
                }
            }
            if !moved {
                return Err(Error::malformed(
                    format!("stage {stage:?} of the plan"),
                    "it has steps of a task that nobody makes",
                ));
            }
            for batch in running {
                let task = batch.task;
                let all = &steps[&task];
                self.end(batch, all)?;
                if self.done(task, all)? == Some(all.len()) {
                    left -= 1;
                }
            }
        }
        if stage == Stage::SealMemory {
            self.close_reserved()?;
        }
        Ok(())
    }

    /// How many steps of the stage a task has done; `None` if it is not there yet.
    fn done(&self, task: TaskId, steps: &[Step]) -> Result<Option<usize>> {
        match (self.tasks.get(&task), steps.first()) {
            (Some(live), _) => Ok(Some(live.results.len())),
            // The root is made by ourselves.
            (None, Some(Step::SpawnChild { child, .. })) if child.leader() == task => Ok(Some(0)),
            (None, _) => Ok(None),
        }
    }

    fn live(&mut self, task: TaskId) -> Result<&mut Live> {
        self.tasks
            .get_mut(&task)
            .ok_or_else(|| Error::malformed(format!("task {task} of the plan"), "it is not there"))
    }

    /// Does the steps from number `from` on that are no calls; returns the number of the first that
    /// is one.
    fn alone(&mut self, task: TaskId, steps: &[Step], from: usize) -> Result<usize> {
        let mut at = from;
        while let Some(step) = steps.get(at) {
            match step {
                Step::Call(_) | Step::SpawnThread { .. } => break,
                Step::SpawnChild { child, pid, .. } if child.leader() == task => {
                    self.make_root(task, pid)?;
                }
                Step::SpawnChild { .. } => break,
                step => self.step(task, step)?,
            }
            self.live(task)?.results.push(0);
            at += 1;
        }
        Ok(at)
    }

    fn make_root(&mut self, task: TaskId, pid: &[i32]) -> Result<()> {
        let caller = spawn::root(self.plan, pid, self.image)?;
        self.tasks.insert(task, Live::new(caller));
        Ok(())
    }

    /// A step that is no call.
    fn step(&mut self, task: TaskId, step: &Step) -> Result<()> {
        let module = self.module;
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
            } => write(pid, *address, bytes).map_err(|errno| Error::task(tid, what, errno)),
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
            Step::SetStart {
                monotonic,
                boottime,
            } => {
                let failed = |errno| Error::task(tid, "set the start time", errno);
                let device = module.ok_or_else(without)?.device();
                let handle = pidfd::open(pid).map_err(failed)?;
                device
                    .set_start(handle.as_fd(), *monotonic, *boottime)
                    .map_err(failed)
            }
            Step::Exit { status } => self.exit(task, *status),
            Step::Reenter(call) => self.reenter(task, call),
            Step::SetProcessor(processor) => {
                live.processor = Some(processor.clone());
                Ok(())
            }
            Step::StayStopped { signal } => {
                self.stops.push((task, *signal));
                Ok(())
            }
            Step::Call(_) | Step::SpawnChild { .. } | Step::SpawnThread { .. } => {
                unreachable!("calls go into batches")
            }
        }
    }

    /// Sets a task off on as many of its calls as fit. `None`: another round will do it, when its
    /// siblings have left it room.
    fn begin(
        &mut self,
        task: TaskId,
        steps: &[Step],
        from: usize,
        used: &mut BTreeMap<ProcessId, u64>,
    ) -> Result<Option<Running>> {
        let first = used.entry(task.process).or_insert(layout::BATCHES);
        let room = (scratch::SIZE - *first) as usize;
        let mut calls = Vec::new();
        let mut size = 0;
        for step in &steps[from..] {
            let call = match step {
                Step::Call(call) => call.clone(),
                Step::SpawnChild {
                    pid, exit_signal, ..
                } => spawn::child(pid, *exit_signal),
                Step::SpawnThread { tid, .. } => spawn::thread(tid),
                _ => break,
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
        let batch = Batch::encode(calls.iter(), start, |reference| {
            let step = reference as usize;
            if let Some(value) = live.results.get(step) {
                Ok(Returned::Value(*value))
            } else {
                Ok(Returned::Here(step - from))
            }
        })?;
        *first = (*first + batch.bytes.len() as u64).next_multiple_of(64);
        let caller = &live.caller;
        memory::write(caller.pid, start, &batch.bytes)
            .map_err(|errno| Error::task(caller.tid, "write a batch", errno))?;
        let end = start.offset(batch.entry_bytes() as u64);
        let at = |offset| self.plan.scratch.offset(offset);
        caller.begin_batch(at(layout::CODE), at(layout::FRAME), (start, end))?;
        Ok(Some(Running {
            task,
            start,
            steps: from..from + calls.len(),
            entry_bytes: batch.entry_bytes(),
            calls,
        }))
    }

    /// Waits for the end of a batch.
    fn end(&mut self, batch: Running, steps: &[Step]) -> Result<()> {
        let code = self.plan.scratch.offset(layout::CODE);
        let live = self.live(batch.task)?;
        let Caller { pid, tid, .. } = live.caller;
        let stopped = live.caller.end_batch(code, &mut Vec::new())?;
        let mut entries = vec![0; batch.entry_bytes];
        memory::read(pid, batch.start, &mut entries)
            .map_err(|errno| Error::task(tid, "read what a batch returned", errno))?;
        let stopped = ((stopped.0 - batch.start.0) as usize) / size_of::<Entry>();
        let results = batch::results(tid, batch.calls.iter(), &entries, stopped);
        // Children that were made before the one that failed are there, and must not be forgotten.
        let mut made = Vec::new();
        for (index, step) in steps[batch.steps.clone()].iter().enumerate().take(stopped) {
            let entry = &entries[index * size_of::<Entry>()..][..size_of::<Entry>()];
            let number = Entry::read_from_bytes(entry).map_or(0, |entry| entry.result as i32);
            match step {
                Step::SpawnChild { child, .. } => made.push((child.leader(), number, number)),
                Step::SpawnThread { thread, .. } => made.push((*thread, pid, number)),
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
        for (_, _, tid) in made {
            remote::await_event_stop(tid, "wait for its first stop", &mut Vec::new())?;
        }
        Ok(())
    }

    /// The descriptors that only the restore needed.
    fn close_reserved(&mut self) -> Result<()> {
        let first = self.plan.reserved_fds as u64;
        let last = first + reserved::COUNT as u64 - 1;
        let call = Call::new(
            "close the descriptors of the restore",
            libc::SYS_close_range,
            [first.into(), last.into(), 0_u64.into()],
        );
        let leaders: Vec<TaskId> = self
            .tasks
            .keys()
            .copied()
            .filter(|task| task.thread == 0)
            .collect();
        let steps = [Step::Call(call)];
        let mut running = Vec::new();
        for task in leaders {
            self.live(task)?.results.clear();
            running.extend(self.begin(task, &steps, 0, &mut BTreeMap::new())?);
        }
        for batch in running {
            self.end(batch, &steps)?;
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
                // No second core dump.
                let no_core = at(layout::BATCHES);
                memory::write(caller.pid, no_core, &[0; 16]).map_err(failed)?;
                let args = [u64::from(libc::RLIMIT_CORE), no_core.0];
                caller.call("set no core size", libc::SYS_setrlimit, &args)?;
                // An empty batch: it stops for a signal, which can be another one.
                caller.begin_batch(at(layout::CODE), at(layout::FRAME), (no_core, no_core))?;
                caller.end_batch(at(layout::CODE), &mut Vec::new())?;
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

    /// Begins an interrupted call again.
    fn reenter(&mut self, task: TaskId, call: &Call) -> Result<()> {
        let start = self.plan.scratch.offset(layout::BATCHES);
        let live = self.live(task)?;
        let caller = &live.caller;
        let batch = Batch::encode(std::iter::once(call), start, |_| {
            Err(Error::malformed(&call.what, "refers to another call"))
        })?;
        memory::write(caller.pid, start, &batch.bytes)
            .map_err(|errno| Error::task(caller.tid, &call.what, errno))?;
        let entry = Entry::read_from_bytes(&batch.bytes[..size_of::<Entry>()])
            .map_err(|_| Error::malformed(&call.what, "half an entry"))?;
        let value = caller.call_into_stop(&call.what, call.nr, &entry.args)?;
        if value != RESTART_BLOCK {
            live.reentered = Some(value);
        }
        Ok(())
    }

    /// The last: scratch memory goes, and registers come.
    fn finish(&mut self) -> Result<()> {
        for (task, live) in &self.tasks {
            if task.thread != 0 || live.ended {
                continue;
            }
            let args = [self.plan.scratch.0, scratch::TOTAL];
            let what = "unmap scratch memory";
            let value = live.caller.call_into_stop(what, libc::SYS_munmap, &args)?;
            if let Some(errno) = error_number(value as u64) {
                return Err(Error::task(live.caller.tid, what, errno));
            }
        }
        for (task, live) in self.tasks.iter().filter(|(_, live)| !live.ended) {
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
                // It did not have to wait again: it returns.
                registers.rax = value as u64;
                registers.orig_rax = u64::MAX;
            }
            ptrace::set_xstate(tid, &processor.xstate)
                .map_err(|errno| Error::task(tid, "set its extended state", errno))?;
            ptrace::set_registers(tid, &registers)
                .and_then(|()| ptrace::set_signal_mask(tid, processor.signal_mask))
                .map_err(failed)?;
        }
        Ok(())
    }
}

impl Live {
    fn new(caller: Caller) -> Self {
        Self {
            caller,
            results: Vec::new(),
            reentered: None,
            processor: None,
            ended: false,
        }
    }
}

impl Drop for Executor<'_> {
    /// Kills what was made and not let go, and waits until it is gone.
    fn drop(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        // Children of the dead become ours, and are waited for.
        let reaper = nix::sys::prctl::get_child_subreaper().unwrap_or(false);
        let _ = nix::sys::prctl::set_child_subreaper(true);
        for live in self.tasks.values() {
            let pid = nix::unistd::Pid::from_raw(live.caller.pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        // First as their tracer, then, for leaders, as their parent.
        for _ in 0..2 {
            for live in self.tasks.values().rev() {
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

/// Writes into memory of a task, also where it could not write itself.
fn write(pid: i32, address: RemoteAddr, bytes: &[u8]) -> nix::Result<()> {
    match memory::write(pid, address, bytes) {
        Err(Errno::EFAULT) => File::options()
            .write(true)
            .open(format!("/proc/{pid}/mem"))
            .and_then(|file| file.write_all_at(bytes, address.0))
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default())),
        result => result,
    }
}
