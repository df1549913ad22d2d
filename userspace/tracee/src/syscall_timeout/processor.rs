// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The clocks of the processors: they tell when a thread last ran, in terms of the monotonic clock.
//!
//! The scheduler has a clock for each processor (`rq_clock_task()`), which leaves out the time
//! taken by interrupts and, in a virtual machine, by the host. Two of them may differ by minutes.
//! The difference between such a clock and a later reading of itself is never longer than the time
//! that has really passed.

use std::collections::HashMap;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use super::blocked_since::parse_sched;
use crate::clock;

/// One moment on two clocks.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The time on the clock of the processor.
    processor: u64,
    /// The time on the monotonic clock.
    monotonic: u64,
}

/// The readings of processor clocks so far.
#[derive(Debug, Default)]
pub(super) struct Clocks(HashMap<usize, Option<Reading>>);

impl Clocks {
    /// Converts `time` on the clock of a processor to the monotonic clock: the result is not before
    /// that moment, and hardly after it. `None` if the kernel does not tell.
    pub(super) fn monotonic(&mut self, processor: usize, time: u64) -> Option<u64> {
        let known = self.0.entry(processor).or_default();
        if known.is_none_or(|reading| reading.processor < time) {
            *known = read(processor);
        }
        let Reading {
            processor,
            monotonic,
        } = (*known)?;
        Some(monotonic.saturating_sub(at_least(processor.checked_sub(time)?)))
    }
}

/// Returns the time that has at least passed on the monotonic clock. The clocks of the scheduler
/// are not adjusted like the monotonic clock, which may be by up to half a thousandth.
fn at_least(passed: u64) -> u64 {
    passed - passed / 1024
}

/// Reads the clock of a processor, in a thread that runs there.
fn read(processor: usize) -> Option<Reading> {
    std::thread::scope(|scope| scope.spawn(|| read_here(processor)).join().ok().flatten())
}

fn read_here(processor: usize) -> Option<Reading> {
    let mut set = CpuSet::new();
    set.set(processor).ok()?;
    sched_setaffinity(Pid::from_raw(0), &set).ok()?;
    // The kernel updates `exec_start` of a running thread when its CPU time is read
    // (kernel/sched/core.c:task_sched_runtime).
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok()?;
    let text = std::fs::read_to_string("/proc/thread-self/sched").ok()?;
    let (processor, _) = parse_sched(&text)?;
    Some(Reading {
        processor,
        monotonic: clock::monotonic(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_alike() {
        let mut clocks = Clocks::default();
        let before = clock::monotonic();
        let Some(first) = read(0) else {
            // This kernel does not tell, or we may not use this processor.
            return;
        };
        let moment = clocks.monotonic(0, first.processor).unwrap();
        assert!(moment >= before, "{moment} is before {before}");
        assert!(moment <= clock::monotonic());
        let later = clocks.monotonic(0, first.processor + 1_000_000_000_000);
        assert_eq!(later, None, "a moment that has not come yet");
    }

    #[test]
    fn clocks_that_run_faster() {
        assert_eq!(at_least(1024), 1023);
        assert_eq!(at_least(0), 0);
    }
}
