// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is looked at to describe a process and its threads, once, for all aspects.
//!
//! What `/proc` tells is read for the whole tree at once, on all processors; what the hooks tell,
//! which may need ptrace, by the one thread that traces.

use std::cell::OnceCell;
use std::path::PathBuf;

use crust_sys::ptrace::{self, Queue};
use crust_sys::signal::SigInfo;
use crust_sys::uapi;

use super::sharing::Sharing;
use super::{boundary, labels};
use crate::capture::Capture;
use crate::clock;
use crate::procfs::{self, Fields, Stat};
use crate::subject::{FrozenProcess, FrozenThread};
use crate::{Error, Result, freeze, parallel};

/// Files of `/proc/PID`.
pub struct ProcessText {
    /// `limits`.
    pub limits: String,
    /// `timers`.
    pub timers: String,
    /// `oom_score_adj`.
    pub oom_score_adj: String,
    /// `coredump_filter`.
    pub coredump_filter: String,
    /// `cgroup`; empty on a kernel without them.
    pub cgroup: Vec<u8>,
    /// The `stat` of a leader that has ended.
    pub ended_leader: Option<Stat>,
}

/// Files of `/proc/PID/task/TID`.
#[derive(Clone)]
pub struct ThreadText {
    /// `status`.
    pub status: Fields,
    /// `stat`.
    pub stat: Stat,
    /// `personality`, if the thread is not asked for it.
    personality: Option<String>,
    /// Where the links of [`boundary::NAMESPACES`] point, or, if it is not the leader, of those that it can
    /// have for itself; `None` if the kernel has no such namespaces.
    pub namespaces: Vec<Option<PathBuf>>,
    /// What it has in the files of [`labels`] that there are.
    pub labels: Vec<Option<Vec<u8>>>,
}

/// What can be read about a process with stopped threads.
pub struct ProcessView<'a> {
    /// The process.
    pub process: &'a FrozenProcess,
    /// Its first thread, by which it is read: the leader, if that goes on.
    pub leader: &'a FrozenThread,
    /// What `/proc` tells of the process.
    pub text: &'a ProcessText,
    /// What it tells of the leader: for the most part, that is the process.
    pub status: &'a Fields,
    /// As `status`; but the times in it are those of the leader alone.
    pub stat: &'a Stat,
    /// What it tells of all threads.
    pub threads: &'a [ThreadText],
    /// What it shares with its parent.
    pub sharing: Sharing,
    /// What only the kernel hooks tell.
    pub kernel: uapi::Process,
    /// When they were asked, on the monotonic clock.
    pub asked: u64,
    signals: OnceCell<Vec<SigInfo>>,
}

/// What can be read about a stopped thread.
pub struct ThreadView<'a> {
    /// Its process.
    pub process: &'a FrozenProcess,
    /// The thread.
    pub thread: &'a FrozenThread,
    /// Its number in the process.
    pub number: u32,
    /// What `/proc` tells.
    pub text: &'a ThreadText,
    /// What only the kernel hooks tell.
    pub kernel: uapi::Thread,
}

/// What `/proc` tells of a process: its own files and those of each thread. Of a zombie, nothing.
pub(crate) type Texts = (Option<ProcessText>, Vec<ThreadText>);

/// Reads what `/proc` tells of all processes of a tree; `read_only` if nothing else is asked.
pub(super) fn read(tree: &[FrozenProcess], read_only: bool) -> Result<Vec<Texts>> {
    let living = |process: &&FrozenProcess| process.leader().is_some();
    let processes: Vec<&FrozenProcess> = tree.iter().filter(living).collect();
    let threads: Vec<(&FrozenProcess, &FrozenThread)> = processes
        .iter()
        .flat_map(|&process| process.threads.iter().map(move |thread| (process, thread)))
        .collect();
    // A process is as good as a few threads: five files and no links.
    let mut of_processes =
        parallel::map(&processes, 16, |process| ProcessText::read(process)).into_iter();
    let mut of_threads = parallel::map(&threads, 16, |(process, thread)| {
        ThreadText::read(process, thread, read_only)
    })
    .into_iter();
    tree.iter()
        .map(|process| {
            let of_process = process.leader().and_then(|_| of_processes.next());
            let of_threads = of_threads.by_ref().take(process.threads.len());
            Ok((of_process.transpose()?, of_threads.collect::<Result<_>>()?))
        })
        .collect()
}

impl ProcessText {
    fn read(process: &FrozenProcess) -> Result<Self> {
        let text = |name| procfs::read_text(&process.proc, process.pid, name);
        Ok(Self {
            limits: text("limits")?,
            timers: text("timers")?,
            oom_score_adj: text("oom_score_adj")?,
            coredump_filter: text("coredump_filter")?,
            cgroup: procfs::read(&process.proc, process.pid, "cgroup").unwrap_or_default(),
            ended_leader: process
                .ended_leader
                .map(|_| freeze::stat_of_leader(process))
                .transpose()?,
        })
    }
}

impl ThreadText {
    fn read(process: &FrozenProcess, thread: &FrozenThread, read_only: bool) -> Result<Self> {
        let (proc, pid, tid) = (&process.proc, process.pid, thread.tid);
        let text = |name: &str| procfs::read_text(proc, pid, &format!("task/{tid}/{name}"));
        let namespaces = match tid == process.task() {
            true => &boundary::NAMESPACES[..],
            false => &boundary::NAMESPACES[..boundary::NAMESPACES_OF_THREAD],
        };
        Ok(Self {
            status: Fields::new(text("status")?),
            stat: procfs::stat(proc, pid, &format!("task/{tid}/stat"))?,
            personality: read_only.then(|| text("personality")).transpose()?,
            namespaces: namespaces
                .iter()
                .map(|name| procfs::link(proc, pid, &format!("task/{tid}/ns/{name}")).ok())
                .collect(),
            labels: labels::read(proc, pid, &format!("task/{tid}")),
        })
    }

    /// The personality.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn personality(&self, process: &FrozenProcess, thread: &FrozenThread) -> Result<u32> {
        let name = format!("task/{}/personality", thread.tid);
        let text = match &self.personality {
            Some(text) => text.clone(),
            None => procfs::read_text(&process.proc, process.pid, &name)?,
        };
        u32::from_str_radix(text.trim(), 16).map_err(|error| {
            Error::malformed(format!("/proc/{}/{name}", process.pid), error.to_string())
        })
    }
}

impl<'a> ProcessView<'a> {
    pub(super) fn new(
        process: &'a FrozenProcess,
        leader: &'a FrozenThread,
        text: &'a ProcessText,
        threads: &'a [ThreadText],
        sharing: Sharing,
        capture: &Capture<'_>,
    ) -> Result<Self> {
        let of_leader = &threads[0];
        Ok(Self {
            sharing,
            process,
            leader,
            text,
            status: &of_leader.status,
            stat: &of_leader.stat,
            threads,
            asked: clock::monotonic(),
            kernel: capture.hooks.process(process)?,
            signals: OnceCell::new(),
        })
    }

    /// The signals that wait in the queue of the process, those that have a `siginfo`. All that look see the
    /// same: timers go on while a process stands still, and what they had to go is asked before.
    ///
    /// # Errors
    ///
    /// If the process has died.
    pub fn signals(&self) -> Result<&[SigInfo]> {
        if let Some(signals) = self.signals.get() {
            return Ok(signals);
        }
        let signals = ptrace::queued_signals(self.leader.tid, Queue::Shared)
            .map_err(|errno| Error::task(self.leader.tid, "read the pending signals", errno))?;
        Ok(self.signals.get_or_init(|| signals))
    }
}

impl<'a> ThreadView<'a> {
    pub(super) fn new(
        process: &'a FrozenProcess,
        number: u32,
        thread: &'a FrozenThread,
        text: &'a ThreadText,
        capture: &Capture<'_>,
    ) -> Result<Self> {
        Ok(Self {
            process,
            thread,
            number,
            text,
            kernel: capture.hooks.thread(process, thread)?,
        })
    }
}
