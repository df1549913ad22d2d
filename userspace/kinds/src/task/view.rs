// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Views of a process and its threads, read once for all aspects.
//!
//! `/proc` is read for the whole tree at once, on all processors; the hooks, which may need ptrace, are called by the
//! one thread that traces.

use std::cell::OnceCell;

use crust_model::{Error, Result};
use crust_proc::{Fields, Stat};
use crust_sys::ptrace::{self, Queue};
use crust_sys::signal::SigInfo;
use crust_sys::uapi;
use crust_tracee::clock;
use crust_tracee::frozen_process::{FrozenProcess, FrozenThread};
use crust_tracee::texts::{ProcessText, ThreadText};

use super::sharing::Sharing;
use crate::capture::Capture;

/// The readable state of a process with stopped threads.
pub struct ProcessView<'a> {
    /// The process.
    pub process: &'a FrozenProcess,
    /// The first thread of the process, through which it is read: the thread group leader, if that has not exited.
    pub leader: &'a FrozenThread,
    /// The contents of `/proc` about the process.
    pub text: &'a ProcessText,
    /// The `status` file of the leader, most of which is about the process.
    pub status: &'a Fields,
    /// The `stat` file of the leader, likewise; but the times in it are those of the leader alone.
    pub stat: &'a Stat,
    /// The contents of `/proc` about all threads.
    pub threads: &'a [ThreadText],
    /// What the process shares with its parent.
    pub sharing: Sharing,
    /// The state that only the kernel hooks report.
    pub kernel: uapi::Process,
    /// The time at which the hooks were called, on the monotonic clock.
    pub asked: u64,
    signals: OnceCell<Vec<SigInfo>>,
}

/// The readable state of a stopped thread.
pub struct ThreadView<'a> {
    /// The process of the thread.
    pub process: &'a FrozenProcess,
    /// The thread.
    pub thread: &'a FrozenThread,
    /// The number of the thread in the process.
    pub number: u32,
    /// The contents of `/proc` about the thread.
    pub text: &'a ThreadText,
    /// The state that only the kernel hooks report.
    pub kernel: uapi::Thread,
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

    /// Returns the pending signals of the process that have a `siginfo`. All callers see the same list: timers keep
    /// running while a process is stopped, and their remaining times are read before.
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
