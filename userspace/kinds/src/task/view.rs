// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is looked at to describe a process and its threads, once, for all aspects.
//!
//! What `/proc` tells is read for the whole tree at once, on all processors; what the hooks tell,
//! which may need ptrace, by the one thread that traces.

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
