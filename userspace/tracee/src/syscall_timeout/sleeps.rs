// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Observations of threads before they are stopped, and the timeouts derived from them afterwards.

use std::collections::HashMap;
use std::os::fd::AsFd;

use crust_sys::ptrace::UserRegs;

use super::blocked_since::{Asleep, Called};
use super::note::Note;
use super::processor::Clocks;
use super::thread_pidfd;
use super::wait::{Sockets, Wait, Whole, arguments, number};
use crate::clock;
use crate::deadline::{Deadline, SyscallTimeout};
use crate::frozen_process::FrozenProcess;

/// The sleeps of the threads that are about to be stopped.
#[derive(Debug, Default)]
pub struct Sleeps {
    threads: HashMap<i32, Asleep>,
    clocks: Clocks,
    sockets: Sockets,
}

impl Sleeps {
    /// Records how a thread sleeps, if it does, before it is stopped.
    pub fn look(&mut self, process: &FrozenProcess, tid: i32) {
        let asleep = Called::of(&process.proc, tid)
            .filter(|call| self.sockets.may_have_limit(process.pid, call))
            .and_then(|call| Asleep::of(&process.proc, tid, call));
        if let Some(asleep) = asleep {
            self.threads.insert(tid, asleep);
        }
    }

    /// Returns the timeout of the call in which a thread, now stopped with these registers, was
    /// interrupted; `None` if there is none, or the kernel takes care of it.
    pub fn limit(
        &mut self,
        process: &FrozenProcess,
        tid: i32,
        registers: &UserRegs,
    ) -> Option<SyscallTimeout> {
        let asleep = self
            .threads
            .remove(&tid)
            .filter(|asleep| same(process, tid, registers, asleep));
        let noted = asleep.and_then(|asleep| {
            let thread = thread_pidfd(process.pid, tid).ok()?;
            Note::read(thread.as_fd(), asleep.since)
        });
        let number = match noted {
            Some(note) => note.number,
            None => number(tid, registers)?,
        };
        let wait = Wait::of(process, tid, number, registers)?;
        let stopped = clock::monotonic();
        let end = match (wait.whole, wait.left, noted.and_then(|note| note.end)) {
            (Whole::Endless, ..) => Deadline::Never,
            (_, Some(left), _) => Deadline::At(stopped.saturating_add(left)),
            (_, None, Some(end)) => Deadline::At(end),
            (Whole::Unclear, None, None) => Deadline::Unknown,
            (Whole::Of(limit), None, None) => asleep
                .and_then(|asleep| self.clocks.monotonic(asleep.processor, asleep.since))
                .map_or(Deadline::Unknown, |since| {
                    Deadline::At(since.saturating_add(limit))
                }),
        };
        Some(SyscallTimeout {
            number,
            place: wait.place,
            end,
            stopped,
        })
    }
}

/// Returns whether a stopped thread was interrupted in the sleep in which it was observed.
fn same(process: &FrozenProcess, tid: i32, registers: &UserRegs, asleep: &Asleep) -> bool {
    let call = &asleep.call;
    let is_same = call.number == registers.orig_rax
        && call.stack == registers.rsp
        && call.instruction == registers.rip
        && call.args == arguments(registers);
    is_same
        && crust_proc::read_text(&process.proc, tid, &format!("task/{tid}/status")).is_ok_and(
            |text| {
                let switches = crust_proc::Fields::new(text).number("voluntary_ctxt_switches");
                let switches = switches.and_then(|switches| u64::try_from(switches).ok());
                switches.is_some_and(|switches| asleep.lasted(switches))
            },
        )
}
