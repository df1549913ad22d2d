// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Stopping a whole tree of processes, and releasing it.
//!
//! Every thread is seized with ptrace and interrupted; threads and children are listed again until
//! nothing new appears, because tasks that are not stopped yet may still fork. [`Frozen`] holds the
//! tree: dropping it lets every task continue as before. If crust is killed, the kernel does the
//! same.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crust_model::plan::ProcessId;
use crust_model::{Error, Result};
use crust_sys::ptrace::{self, event, option};
use crust_sys::wait::{self, Status};
use crust_sys::{RemoteAddr, pidfd, word};
use nix::errno::Errno;

use crate::frozen_process::{FrozenProcess, FrozenThread, open_directory, open_process, refuse};
use crate::interrupt::Interrupts;
use crate::syscall_timeout::Sleeps;
use crate::syscall_timeout::resume::{self, Waiting};
use crate::{denied, instruction, privileges, stopped};

/// How long a thread may take to stop, unless it is busy. One that takes longer is in an uninterruptible
/// wait.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many times as long a thread may take that waits for a processor, or works in the kernel.
const BUSY: u32 = 10;

/// How long to wait for a report about a thread before looking at it again.
const PAUSE: Duration = Duration::from_millis(50);

/// A tree whose threads are all stopped.
#[derive(Debug)]
pub struct Frozen {
    /// The processes, parents before their children.
    pub processes: Vec<FrozenProcess>,
    /// When the first thread was about to be stopped.
    pub since: Instant,
    /// The tasks to detach from, unless they have died.
    pub seized: Vec<i32>,
    /// The observations of threads before they were stopped.
    sleeps: Sleeps,
}

impl Frozen {
    /// Stops the tree below `pid`.
    ///
    /// # Errors
    /// [`Error::Refused`] for what can never be stopped or read: a task that another program
    /// traces, a 32-bit task, crust itself. [`Error::Interrupted`]. Whatever the error is,
    /// everything runs again.
    pub fn tree(pid: i32, interrupts: &Interrupts) -> Result<Self> {
        let mut frozen = Self {
            processes: Vec::new(),
            since: Instant::now(),
            seized: Vec::new(),
            sleeps: Sleeps::default(),
        };
        let mut known = HashSet::from([pid]);
        let mut vanished = false;
        frozen.family(&[pid], None, interrupts, &mut vanished)?;
        if frozen.processes.is_empty() {
            return Err(Error::task(pid, "nothing is dumped", Errno::ESRCH));
        }
        let mut next = 0;
        while next < frozen.processes.len() {
            let parent = &frozen.processes[next];
            let id = parent.id;
            let mut new = children(parent)?;
            new.retain(|&child| known.insert(child));
            frozen.family(&new, Some(id), interrupts, &mut vanished)?;
            next += 1;
            // Children of a process that died meanwhile may now belong to a process that has already
            // been visited.
            if next == frozen.processes.len() && std::mem::take(&mut vanished) {
                next = 0;
            }
        }
        Ok(frozen)
    }

    /// Returns the number of threads.
    #[must_use]
    pub fn threads(&self) -> u64 {
        self.processes
            .iter()
            .map(|process| process.threads.len() as u64)
            .sum()
    }

    /// Lets the tree continue.
    pub fn release(mut self) {
        self.detach();
    }

    /// Releases the tree into a group-stop (`--leave-stopped`): `SIGCONT` ends it.
    pub fn release_stopped(mut self) {
        for process in &self.processes {
            if process.leader().is_some() {
                let _ = pidfd::send_signal(process.pidfd.as_fd(), libc::SIGSTOP, None);
            }
        }
        self.detach();
    }

    fn detach(&mut self) {
        if self.seized.is_empty() {
            return;
        }
        let waiting = self.waiting();
        resume::let_go(&waiting);
        for tid in self.seized.drain(..) {
            // This can only fail if the task has died.
            let _ = ptrace::detach(tid, 0);
        }
        resume::note(&waiting);
    }

    /// Returns the threads that continue with the remaining time of a timeout.
    fn waiting(&mut self) -> Vec<Waiting> {
        let threads = self.processes.iter().flat_map(|process| &process.threads);
        let known: HashSet<i32> = threads.map(|thread| thread.tid).collect();
        let mut waiting: Vec<_> = self
            .seized
            .iter()
            .filter(|tid| !known.contains(tid))
            .filter_map(|&tid| stopped::given_up(tid, &mut self.sleeps))
            .collect();
        let of = |process: &FrozenProcess, thread: &FrozenThread| {
            Waiting::new(process.pid, thread.tid, thread.limit?.now()?)
        };
        let going = self
            .processes
            .iter()
            .filter(|process| process.stopped.is_none());
        waiting.extend(going.flat_map(|process| {
            let threads = process.threads.iter();
            threads.filter_map(move |thread| of(process, thread))
        }));
        waiting
    }

    /// Stops the children of one parent: all are asked to stop before the first is waited for.
    fn family(
        &mut self,
        pids: &[i32],
        parent: Option<ProcessId>,
        interrupts: &Interrupts,
        vanished: &mut bool,
    ) -> Result<()> {
        let mut asked = Vec::new();
        for &pid in pids {
            match open_process(pid, parent)? {
                Some(mut process) => {
                    let new = self.ask(&mut process, vanished)?;
                    asked.push((process, new));
                }
                None => *vanished = true,
            }
        }
        for (mut process, mut new) in asked {
            let number = u32::try_from(self.processes.len())
                .map_err(|_| Error::malformed("the tree", "it has more than 2^32 processes"))?;
            process.id = ProcessId(number);
            while !new.is_empty() {
                for tid in new {
                    match self.await_stop(&mut process, tid, interrupts)? {
                        Some(thread) => process.threads.push(thread),
                        None => *vanished = true,
                    }
                }
                // Threads that were not stopped yet may have created more.
                new = self.ask(&mut process, vanished)?;
            }
            if process.zombie.is_none() {
                if process.threads.is_empty() {
                    // The last threads may have ended a moment after the leader.
                    match process.ended_leader {
                        Some(_) if is_zombie(&process)? => {
                            process.zombie = Some(exit_status(&process)?);
                        }
                        _ => {
                            *vanished = true;
                            continue;
                        }
                    }
                } else {
                    settle(&mut process)?;
                }
            }
            let of_zombie = process.parent.filter(|_| process.zombie.is_some());
            if let Some(parent) = of_zombie.and_then(|id| self.processes.get_mut(id.0 as usize)) {
                parent.has_zombies = true;
            }
            self.processes.push(process);
        }
        Ok(())
    }

    /// Begins to trace those threads of a process that are not traced yet, and returns their ids.
    fn ask(&mut self, process: &mut FrozenProcess, vanished: &mut bool) -> Result<Vec<i32>> {
        let known: HashSet<i32> = process.threads.iter().map(|thread| thread.tid).collect();
        let mut new = Vec::new();
        for tid in crust_proc::numbers(&process.proc, process.pid, "task")? {
            if known.contains(&tid) {
                continue;
            }
            match self.seize(process, tid)? {
                Seized::Yes => new.push(tid),
                Seized::Gone => *vanished = true,
                Seized::Zombie(status) => {
                    process.zombie = Some(status);
                    return Ok(Vec::new());
                }
                Seized::EndedLeader(status) => process.ended_leader = Some(status),
            }
        }
        Ok(new)
    }

    /// Begins to trace a thread, and asks it to stop.
    fn seize(&mut self, process: &mut FrozenProcess, tid: i32) -> Result<Seized> {
        self.sleeps.look(process, tid);
        match privileges::seize(tid, option::SYSGOOD) {
            Ok(options) => process.options = options,
            Err(Errno::ESRCH) => return Ok(Seized::Gone),
            Err(Errno::EPERM) => return cannot_seize(process, tid),
            Err(errno) => return Err(Error::task(tid, "PTRACE_SEIZE", errno)),
        }
        self.seized.push(tid);
        match ptrace::interrupt(tid) {
            // The thread is dying; the wait will report it.
            Ok(()) | Err(Errno::ESRCH) => Ok(Seized::Yes),
            Err(errno) => Err(Error::task(tid, "PTRACE_INTERRUPT", errno)),
        }
    }

    /// Waits until a thread stops. Returns `None` if it has died instead.
    fn await_stop(
        &mut self,
        process: &mut FrozenProcess,
        tid: i32,
        interrupts: &Interrupts,
    ) -> Result<Option<FrozenThread>> {
        let failed = |errno| Error::task(tid, "wait for it to stop", errno);
        let mut looks = 0;
        let mut moments = 0;
        let mut periods = 0;
        let stopped = loop {
            periods += 1;
            let deadline = Instant::now() + PATIENCE;
            let stopped = interrupts.wait_for(deadline, PAUSE, || {
                looks += 1;
                loop {
                    match wait::poll(tid).map_err(failed)? {
                        // The exit of a leader is not reported before all other threads have ended.
                        None if looks > 1 && tid == process.pid && is_zombie(process)? => {
                            process.ended_leader = Some(exit_status(process)?);
                            return Ok(Some(None));
                        }
                        None => return Ok(None),
                        Some((
                            _,
                            Status::Stopped {
                                signal,
                                event: event::STOP,
                            },
                        )) => {
                            let is_new = signal == libc::SIGTRAP && moments < stopped::MOMENTS;
                            if !(is_new && stopped::in_vdso(process, tid)) {
                                return Ok(Some(Some(signal)));
                            }
                            moments += 1;
                            stopped::a_moment_later(tid).map_err(failed)?;
                        }
                        // The thread was just receiving a signal: deliver it.
                        Some((_, Status::Stopped { signal, event: 0 })) => {
                            ptrace::cont(tid, signal).map_err(failed)?;
                        }
                        Some((_, Status::Stopped { .. } | Status::Continued)) => {
                            ptrace::cont(tid, 0).map_err(failed)?;
                        }
                        Some(_) => return Ok(Some(None)),
                    }
                }
            })?;
            if let Some(stopped) = stopped {
                break stopped;
            }
            let waits = crust_proc::stat(&process.proc, tid, &format!("task/{tid}/stat"))
                .is_ok_and(|stat| stat.state == 'D');
            if !waits && periods < BUSY {
                continue;
            }
            let (why, remedy) = if waits {
                (
                    "it waits in the kernel for something that cannot be interrupted, such as a disk, or a \
                     vfork child that has not executed its program yet",
                    "try again later; /proc/PID/stack shows where it waits",
                )
            } else {
                (
                    "it waits for a processor, or works in the kernel",
                    "try again when the machine has less to do",
                )
            };
            return refuse(
                tid,
                "does-not-stop",
                format!("thread {tid}"),
                format!(
                    "it did not stop within {} s: {why}",
                    (PATIENCE * periods).as_secs()
                ),
                remedy,
            );
        };
        let Some(signal) = stopped else {
            return Ok(None);
        };
        if signal != libc::SIGTRAP {
            process.stopped = Some(signal);
        }
        let (registers, limit) = stopped::registers(process, tid, &mut self.sleeps)?;
        let mask = ptrace::signal_mask(tid)
            .map_err(|errno| Error::task(tid, "read the signal mask", errno))?;
        Ok(Some(FrozenThread {
            tid,
            registers,
            mask,
            limit,
        }))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.detach();
    }
}

/// Returns the `stat` of the leader of a process; the process as a whole may be read through
/// another thread.
pub(crate) fn stat_of_leader(process: &FrozenProcess) -> Result<crust_proc::Stat> {
    let pid = process.pid;
    crust_proc::stat(&process.proc, pid, &format!("task/{pid}/stat"))
}

/// Returns whether the leader of a process has ended.
fn is_zombie(process: &FrozenProcess) -> Result<bool> {
    match stat_of_leader(process) {
        Ok(stat) => Ok(stat.state == 'Z'),
        Err(Error::Gone { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the exit status of a leader that has ended; for a whole process, this is what wait4 will
/// return. As long as other threads continue, only `/proc` shows it, because the last thread to end
/// determines the status of the process; while they are stopped, not even `/proc/PID/stat` does.
fn exit_status(process: &FrozenProcess) -> Result<i32> {
    Ok(word::to_int(stat_of_leader(process)?.field(52)))
}

/// Completes the description of a process when all of its threads are stopped.
fn settle(process: &mut FrozenProcess) -> Result<()> {
    let pid = process.pid;
    process
        .threads
        .sort_by_key(|thread| (thread.tid != pid, thread.tid));
    let first = process.threads[0].tid;
    if process.ended_leader.is_some() {
        process.proc = open_directory(first)
            .map_err(|errno| Error::task(first, format!("open /proc/{first}"), errno))?;
        process.pidfd = match pidfd::open_thread(first) {
            Err(Errno::EINVAL) => {
                return refuse(
                    pid,
                    "first-thread-ended",
                    "process",
                    "its first thread has ended, and kernels before Linux 6.9 have no pidfds of other threads",
                    "use Linux 6.9 or newer",
                );
            }
            result => result.map_err(|errno| Error::task(first, "pidfd_open", errno))?,
        };
    }
    process.auxv = crust_proc::read(&process.proc, pid, "auxv")?;
    process.syscall_insn = syscall_instruction(process);
    Ok(())
}

enum Seized {
    Yes,
    Gone,
    /// The whole process has ended, with this exit status.
    Zombie(i32),
    /// The leader has ended with this exit status, while other threads of its process continue.
    EndedLeader(i32),
}

/// Finds the `syscall` instruction of a process; the auxiliary vector tells where its vDSO is.
fn syscall_instruction(process: &FrozenProcess) -> Option<RemoteAddr> {
    instruction::vdso(&process.auxv).and_then(|vdso| instruction::in_vdso(process.task(), vdso))
}

/// Determines why a thread may not be traced.
fn cannot_seize(process: &FrozenProcess, tid: i32) -> Result<Seized> {
    let name = format!("task/{tid}/status");
    let status = match crust_proc::read_text(&process.proc, tid, &name) {
        Ok(text) => crust_proc::Fields::new(text),
        Err(Error::Gone { .. }) => return Ok(Seized::Gone),
        Err(error) => return Err(error),
    };
    let dead = status
        .get("State")
        .is_some_and(|state| state.starts_with(['Z', 'X']));
    if dead && tid != process.pid {
        // Threads that have exited leave nothing to save.
        return Ok(Seized::Gone);
    }
    if dead {
        let threads = crust_proc::numbers(&process.proc, process.pid, "task")?;
        let status = exit_status(process)?;
        return Ok(if threads.len() > 1 {
            Seized::EndedLeader(status)
        } else {
            Seized::Zombie(status)
        });
    }
    // Linux 6.8 and later have this field.
    if status.number("Kthread") == Some(1) {
        return refuse(
            tid,
            "kernel-thread",
            "process",
            "it is a thread of the kernel, not a program",
            "dump a program; the name of a thread of the kernel is in brackets in ps",
        );
    }
    let tracer = status.number("TracerPid");
    match tracer.and_then(|tracer| i32::try_from(tracer).ok()) {
        Some(tracer) if tracer != 0 => refuse(
            tid,
            "traced",
            format!("thread {tid}"),
            format!(
                "{} traces it already, as a debugger does",
                crust_proc::named(tracer)
            ),
            "end the debugger, or let it detach",
        ),
        _ => {
            let (why, remedy) = denied::explain(&status);
            refuse(tid, "not-permitted", "process", why, remedy)
        }
    }
}

/// Returns the children of all threads of a process.
fn children(process: &FrozenProcess) -> Result<Vec<i32>> {
    let mut all = Vec::new();
    for thread in &process.threads {
        let name = format!("task/{}/children", thread.tid);
        let text = crust_proc::read_text(&process.proc, thread.tid, &name)?;
        all.extend(
            text.split_ascii_whitespace()
                .filter_map(|word| word.parse::<i32>().ok()),
        );
    }
    Ok(all)
}
