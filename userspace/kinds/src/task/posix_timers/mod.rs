// SPDX-License-Identifier: Apache-2.0 OR MIT

//! POSIX timers (`timer_create(2)`).
//!
//! `/proc/PID/timers` shows their fixed properties; the time that is left comes from the hooks. Their ids are preserved
//! with `PR_TIMER_CREATE_RESTORE_IDS` (Linux 6.15).
//!
//! A timer whose signal is pending is not rearmed until the signal is taken, even if it has an interval. It is made to
//! expire once more instead of queueing the signal, because only the kernel can connect the two.

pub mod plan;

use std::cell::OnceCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crust_model::object::State;
use crust_model::plan::{Data, ProcessId};
use crust_model::{Error, Result};
pub use crust_proc::timers::TimerList;
use crust_sys::ptrace::{self, Queue};
use crust_sys::signal::{OfTimer, SigInfo};
use crust_tracee::frozen_process::FrozenProcess;
use crust_tracee::remote::END_OF_BATCH;
use serde::{Deserialize, Serialize};

pub use self::plan::{Expired, ExpiredTimers};
use super::{ProcessAspect, ProcessView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfProcess;

/// The size of `struct sigevent`.
const SIGEVENT: usize = 64;

/// A POSIX timer. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Timer {
    id: i32,
    clock: i32,
    signal: i32,
    value_given: u64,
    /// `SIGEV_*`.
    notify: i32,
    /// The thread that gets the signal, with `SIGEV_THREAD_ID`.
    thread: i32,
    left: u64,
    interval: u64,
    /// The point in time, on its clock, to which it was set, if it was.
    moment: Option<u64>,
    /// The number of expirations beyond the first that the last signal stood for.
    overrun: u32,
    /// Whether its signal is pending.
    waits: bool,
}

/// The timers of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PosixTimers {
    timers: Vec<Timer>,
}

impl State for PosixTimers {
    const TAG: u16 = 0x010F;
    const VERSION: u16 = 2;
    const NAME: &'static str = "POSIX timers";
    const SUPPORT: &'static str = "id, clock, notification, the time that was left or the moment (of the \
                                   clock of the day), interval, overrun count";

    fn describe(&self) -> String {
        let timers: Vec<_> = self
            .timers
            .iter()
            .map(|timer| {
                format!(
                    "timer {} of clock {}, {} ns left",
                    timer.id, timer.clock, timer.left
                )
            })
            .collect();
        timers.join("; ")
    }
}

/// Returns the value of a line `name: value`.
fn value<'a>(line: Option<&'a str>, name: &str) -> Option<&'a str> {
    line?.strip_prefix(name)?.strip_prefix(':').map(str::trim)
}

/// Parses `/proc/PID/timers` (fs/proc/base.c:show_timer).
fn parse(text: &str) -> Option<Vec<Timer>> {
    let mut timers = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let id = value(Some(line), "ID")?.parse().ok()?;
        let (signal, given) = value(lines.next(), "signal")?.split_once('/')?;
        let (kind, target) = value(lines.next(), "notify")?.split_once('/')?;
        let (whom, number) = target.split_once('.')?;
        let kind = match kind {
            "signal" => libc::SIGEV_SIGNAL,
            "none" => libc::SIGEV_NONE,
            "thread" => libc::SIGEV_THREAD,
            _ => return None,
        };
        let thread = whom == "tid";
        timers.push(Timer {
            id,
            // The patched kernel appends the state, which is read through the hooks instead.
            clock: value(lines.next(), "ClockID")?
                .split(' ')
                .next()?
                .parse()
                .ok()?,
            signal: signal.parse().ok()?,
            value_given: u64::from_str_radix(given.trim_start_matches("0x"), 16).ok()?,
            notify: if thread {
                kind | libc::SIGEV_THREAD_ID
            } else {
                kind
            },
            thread: if thread { number.parse().ok()? } else { 0 },
            left: 0,
            interval: 0,
            moment: None,
            overrun: 0,
            waits: false,
        });
    }
    Some(timers)
}

impl Timer {
    fn sigevent(&self) -> Data {
        let mut bytes = Vec::with_capacity(SIGEVENT);
        bytes.extend(self.value_given.to_ne_bytes());
        bytes.extend(self.signal.to_ne_bytes());
        bytes.extend(self.notify.to_ne_bytes());
        bytes.extend(self.thread.to_ne_bytes());
        bytes.resize(SIGEVENT, 0);
        Data::new(bytes)
    }

    /// Returns the fields of its signal that identify the timer.
    fn says(&self) -> OfTimer {
        OfTimer {
            id: self.id,
            signal: self.signal,
            value: self.value_given,
        }
    }

    /// Returns whether the timer notifies by a signal.
    fn signals(&self) -> bool {
        self.notify != libc::SIGEV_NONE
    }

    /// Returns whether the timer may have been set to a point in time of `CLOCK_REALTIME`, and is queued in the kernel
    /// where that is visible.
    fn may_be_absolute(&self) -> bool {
        self.clock == libc::CLOCK_REALTIME && self.left != 0 && self.signals() && !self.waits
    }

    /// Returns the task whose CPU time the clock of the timer measures: whether it is a process or a thread, and its
    /// id, 0 for the task that created the timer. `None` if it is another clock.
    fn measured(&self) -> Option<(Measured, i32)> {
        // include/linux/posix-timers_types.h
        const PER_THREAD: i32 = 4;
        match self.clock {
            libc::CLOCK_PROCESS_CPUTIME_ID => Some((Measured::Process, 0)),
            libc::CLOCK_THREAD_CPUTIME_ID => Some((Measured::Thread, 0)),
            clock if clock < 0 && clock & PER_THREAD != 0 => {
                Some((Measured::Thread, !(clock >> 3)))
            }
            clock if clock < 0 => Some((Measured::Process, !(clock >> 3))),
            _ => None,
        }
    }

    fn lose(&self, pid: i32, why: impl Into<String>, capture: &mut Capture<'_>) {
        let object = format!("POSIX timer {}", self.id);
        let remedy = "nothing needs to be done, unless the program depends on it";
        capture
            .refusals
            .lose(pid, "posix-timer", object, why, remedy);
    }

    /// Records what of the timer cannot be carried over.
    fn check(&self, process: &FrozenProcess, capture: &mut Capture<'_>) {
        let block = |why: &str, remedy: &str, capture: &mut Capture<'_>| {
            let object = format!("POSIX timer {}", self.id);
            capture
                .refusals
                .block(process.pid, "posix-timer", object, why, remedy);
        };
        let threads = || process.threads.iter().map(|thread| thread.tid);
        match self.measured() {
            Some((Measured::Thread, 0)) if process.threads.len() > 1 => block(
                "it measures the CPU time of one thread, and the kernel does not tell which one",
                "have the program make it with the clock that pthread_getcpuclockid returns, or delete it before the dump",
                capture,
            ),
            Some((Measured::Thread, tid)) if tid != 0 && !threads().any(|other| other == tid) => {
                block(
                    "it measures the CPU time of a thread that has ended",
                    "delete it",
                    capture,
                );
            }
            Some((Measured::Process, pid))
                if pid != 0 && !capture.tree.iter().any(|other| other.pid == pid) =>
            {
                block(
                    "it measures the CPU time of a process outside of the tree",
                    "delete it, or dump a tree that contains that process",
                    capture,
                );
            }
            _ => {}
        }
        if self.thread != 0 && !threads().any(|tid| tid == self.thread) {
            block("it signals a thread that has ended", "delete it", capture);
        }
        if self.waits && self.interval != 0 {
            self.lose(
                process.pid,
                "its signal waits to be taken, and the kernel does not tell how often it has expired since: \
                 that is counted anew (si_overrun)",
                capture,
            );
        } else if self.overrun != 0 && !self.can_overrun(process.pid) {
            self.lose(
                process.pid,
                "the overrun count of its last expiration (timer_getoverrun) is counted from zero",
                capture,
            );
        }
    }

    /// Returns whether crust can reproduce the overrun count: the main thread must get the signal, and crust must be
    /// able to read the clock.
    fn can_overrun(&self, pid: i32) -> bool {
        self.signals()
            && [0, pid].contains(&self.thread)
            && self.interval != 0
            && self.left != 0
            && !self.waits
            && self.signal != END_OF_BATCH
            && self.measured().is_none()
    }
}

/// The kind of task that a CPU-time clock measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measured {
    Process,
    Thread,
}

impl Kind for PosixTimers {
    type Source = OfProcess;
}

impl ProcessAspect for PosixTimers {
    fn capture(view: &ProcessView<'_>, capture: &mut Capture<'_>) -> Result<Option<Self>> {
        let process = view.process;
        let text = &view.text.timers;
        if text.is_empty() {
            return Ok(None);
        }
        let mut timers = parse(text).ok_or_else(|| {
            Error::malformed(
                format!("/proc/{}/timers", process.pid),
                "is not as crust knows it",
            )
        })?;
        timers.sort_by_key(|timer| timer.id);
        let ids: Vec<_> = timers.iter().map(|timer| timer.id).collect();
        let states = capture.hooks.posix_timers(process, &ids)?;
        mark_waiting(view, &mut timers)?;
        for (timer, state) in timers.iter_mut().zip(states) {
            timer.left = state.value;
            timer.interval = state.interval;
            timer.overrun = state.overrun;
            if timer.may_be_absolute() {
                let list = capture
                    .notes
                    .of::<OnceCell<Option<TimerList>>>()
                    .get_or_init(TimerList::read);
                timer.moment = list
                    .as_ref()
                    .and_then(|list| list.moment(timer.left, state.now));
                if list.is_none() {
                    timer.lose(
                        process.pid,
                        "the kernel does not let crust see whether it was set to a point in time: it goes \
                         on with the time that was left",
                        capture,
                    );
                }
            }
            timer.check(process, capture);
            if !timer.can_overrun(process.pid) {
                timer.overrun = 0;
            }
        }
        Ok(Some(Self { timers }))
    }

    fn plan(&self, process: ProcessId, cx: &mut PlanCx<'_>) -> Result<()> {
        plan::plan(&self.timers, process, cx);
        Ok(())
    }
}

/// Marks the timers whose signal is pending.
fn mark_waiting(view: &ProcessView<'_>, timers: &mut [Timer]) -> Result<()> {
    let mut queues: HashMap<i32, HashSet<OfTimer>> = HashMap::new();
    for timer in timers.iter_mut().filter(|timer| timer.signals()) {
        let waiting = match queues.entry(timer.thread) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) if timer.thread == 0 => {
                entry.insert(view.signals()?.iter().filter_map(SigInfo::timer).collect())
            }
            Entry::Vacant(entry) => {
                // If that fails, the thread that would get the signal has exited.
                let signals = ptrace::queued_signals(timer.thread, Queue::Private);
                let signals = signals.unwrap_or_default();
                entry.insert(signals.iter().filter_map(SigInfo::timer).collect())
            }
        };
        timer.waits = waiting.contains(&timer.says());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says() {
        let text = "ID: 3\nsignal: 34/00007ffc1234abcd\nnotify: signal/tid.71\nClockID: 1\n\
                    ID: 7\nsignal: 0/0000000000000000\nnotify: none/pid.70\n\
                    ClockID: -6 value 4.000000500 interval 0.250000000 overrun 2\n";
        let timers = parse(text).unwrap();
        assert_eq!(timers.len(), 2);
        assert_eq!(timers[0].notify, libc::SIGEV_THREAD_ID);
        assert_eq!(
            (timers[0].thread, timers[0].value_given),
            (71, 0x7ffc_1234_abcd)
        );
        assert_eq!((timers[1].id, timers[1].clock), (7, -6));
        assert_eq!(timers[1].notify, libc::SIGEV_NONE);
        assert_eq!(timers[1].measured(), Some((Measured::Process, 0)));
        assert_eq!(timers[0].measured(), None);
        let of_thread_9 = !9 << 3 | 6;
        let of_process_9 = !9 << 3 | 2;
        let measured = |clock| Timer { clock, ..timers[0] }.measured();
        assert_eq!(measured(of_thread_9), Some((Measured::Thread, 9)));
        assert_eq!(measured(of_process_9), Some((Measured::Process, 9)));
        assert_eq!(timers[0].sigevent().bytes.len(), SIGEVENT);
        assert_eq!(parse("ID: x"), None);
    }
}
