// SPDX-License-Identifier: Apache-2.0 OR MIT

//! POSIX timers (`timer_create(2)`).
//!
//! `/proc/PID/timers` tells what is fixed about them; how long they still run comes from the hooks.
//! Their numbers are kept with `PR_TIMER_CREATE_RESTORE_IDS` (Linux 6.15).

use serde::{Deserialize, Serialize};

use super::{ProcessAspect, ProcessView};
use crate::capture::Capture;
use crate::object::State;
use crate::plan::{Call, Data, ProcessId, Stage};
use crate::resolve::Resolve;
use crate::{Error, Result};

const PR_TIMER_CREATE_RESTORE_IDS: u64 = 77;
/// The size of `struct sigevent`.
const SIGEVENT: usize = 64;

/// One timer. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Timer {
    id: i32,
    clock: i32,
    signal: i32,
    value_given: u64,
    /// `SIGEV_*`.
    notify: i32,
    /// The thread that is told, with `SIGEV_THREAD_ID`.
    thread: i32,
    left: u64,
    interval: u64,
}

/// The timers of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PosixTimers {
    timers: Vec<Timer>,
}

impl State for PosixTimers {
    const TAG: u16 = 0x010F;
    const NAME: &'static str = "POSIX timers";
    const SUPPORT: &'static str = "id, clock, notification, the time that was left, interval";

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

/// The value of a line `name: value`.
fn value<'a>(line: Option<&'a str>, name: &str) -> Option<&'a str> {
    line?.strip_prefix(name)?.strip_prefix(':').map(str::trim)
}

/// Parses `/proc/PID/timers` (fs/proc/base.c:show_timer).
fn parse(text: &str) -> Option<Vec<Timer>> {
    let mut timers = Vec::new();
    let mut lines = text.lines().peekable();
    while lines.peek().is_some() {
        let id = value(lines.next(), "ID")?.parse().ok()?;
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
            clock: value(lines.next(), "ClockID")?.parse().ok()?,
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
        });
        // Newer kernels say more.
        while lines.next_if(|line| !line.starts_with("ID:")).is_some() {}
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

    /// Whether its clock is that of the CPU time of a thread: which one only the kernel knows.
    fn is_of_a_thread(&self) -> bool {
        const PER_THREAD: i32 = 4;
        self.clock == libc::CLOCK_THREAD_CPUTIME_ID
            || (self.clock < 0 && self.clock & PER_THREAD != 0)
    }
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
        for (timer, state) in timers.iter_mut().zip(states) {
            timer.left = state.value;
            timer.interval = state.interval;
            if timer.is_of_a_thread() && process.threads.len() > 1 {
                capture.refusals.block(
                    process.pid,
                    format!("POSIX timer {}", timer.id),
                    "it measures the CPU time of one thread, and the kernel does not tell of which",
                    "delete the timer before the dump",
                );
            }
            if state.overrun != 0 {
                capture.refusals.lose(
                    process.pid,
                    format!("POSIX timer {}", timer.id),
                    "the overrun count of its last expiration (timer_getoverrun) is counted from zero",
                    "",
                );
            }
        }
        Ok(Some(Self { timers }))
    }

    fn plan(&self, process: ProcessId, resolve: &mut Resolve<'_>) -> Result<()> {
        let leader = process.leader();
        let keep_ids = |on: u64| {
            let args = [
                PR_TIMER_CREATE_RESTORE_IDS.into(),
                on.into(),
                0.into(),
                0.into(),
                0.into(),
            ];
            Call::new("POSIX timers: choose ids", libc::SYS_prctl, args)
        };
        resolve.plan.call(Stage::Timers, leader, keep_ids(1));
        for timer in &self.timers {
            let args = [
                timer.clock.into(),
                timer.sigevent().into(),
                Data::new(timer.id.to_ne_bytes()).into(),
            ];
            let call = Call::new(
                format!("POSIX timer {}: create", timer.id),
                libc::SYS_timer_create,
                args,
            );
            resolve.plan.call(Stage::Timers, leader, call);
        }
        resolve.plan.call(Stage::Timers, leader, keep_ids(0));
        for timer in self.timers.iter().filter(|timer| timer.left != 0) {
            let seconds = |ns: u64| [ns / 1_000_000_000, ns % 1_000_000_000];
            let times = [seconds(timer.interval), seconds(timer.left)].concat();
            let args = [
                timer.id.into(),
                0.into(),
                Data::words(&times).into(),
                0.into(),
            ];
            let call = Call::new(
                format!("POSIX timer {}: arm", timer.id),
                libc::SYS_timer_settime,
                args,
            );
            resolve.plan.call(Stage::Timers, leader, call);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says() {
        let text = "ID: 3\nsignal: 34/00007ffc1234abcd\nnotify: signal/tid.71\nClockID: 1\n\
                    ID: 7\nsignal: 0/0000000000000000\nnotify: none/pid.70\nClockID: -6\nvalue: 1.5\n";
        let timers = parse(text).unwrap();
        assert_eq!(timers.len(), 2);
        assert_eq!(timers[0].notify, libc::SIGEV_THREAD_ID);
        assert_eq!(
            (timers[0].thread, timers[0].value_given),
            (71, 0x7ffc_1234_abcd)
        );
        assert_eq!((timers[1].id, timers[1].clock), (7, -6));
        assert_eq!(timers[1].notify, libc::SIGEV_NONE);
        assert!(!timers[1].is_of_a_thread());
        assert_eq!(timers[0].sigevent().bytes.len(), SIGEVENT);
        assert_eq!(parse("ID: x"), None);
    }
}
