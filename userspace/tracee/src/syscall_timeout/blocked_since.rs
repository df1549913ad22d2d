// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How a thread sleeps, observed before it is stopped.
//!
//! A stop wakes the thread, and with that the moment when it fell asleep is lost. Until then the
//! scheduler knows it: when the thread last ran (`se.exec_start` in `/proc/PID/task/TID/sched`), on
//! the clock of the processor that it ran on ([`processor`](super::processor)).

use std::os::fd::AsFd;

use crust_sys::word;

/// A thread that sleeps in a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asleep {
    /// The call.
    pub(super) call: Called,
    /// When the thread last ran, in nanoseconds of the clock of its processor.
    pub(super) since: u64,
    /// The processor.
    pub(super) processor: usize,
    /// The number of voluntary context switches so far.
    switches: u64,
}

/// A call as `/proc/PID/task/TID/syscall` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Called {
    pub(super) number: u64,
    pub(super) args: [u64; 6],
    pub(super) stack: u64,
    pub(super) instruction: u64,
}

impl Asleep {
    /// Returns how a thread in this call sleeps; `None` if it does not sleep, or the kernel does
    /// not tell.
    pub(super) fn of(proc: impl AsFd, tid: i32, call: Called) -> Option<Self> {
        let text = crust_proc::read_text(&proc, tid, &format!("task/{tid}/sched")).ok()?;
        let (since, switches) = parse_sched(&text)?;
        let stat = crust_proc::stat(&proc, tid, &format!("task/{tid}/stat")).ok()?;
        // 0: the kernel has forgotten it, for example when it moved the thread to another processor.
        (since != 0 && matches!(stat.state, 'S' | 'D')).then_some(Self {
            call,
            since,
            processor: word::to_size(stat.field(39)),
            switches,
        })
    }

    /// Returns whether a thread that is now stopped, with this number of voluntary context
    /// switches, has only been woken to stop.
    pub(super) fn lasted(&self, switches: u64) -> bool {
        switches == self.switches + 1
    }
}

impl Called {
    /// Returns the call in which a thread sleeps; `None` if it runs.
    pub(super) fn of(proc: impl AsFd, tid: i32) -> Option<Self> {
        Self::parse(&crust_proc::read_text(proc, tid, &format!("task/{tid}/syscall")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let number = words.next()?.parse::<i64>().ok().map(word::from_long)?;
        let mut word = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
        let mut args = [0; 6];
        for arg in &mut args {
            *arg = word()?;
        }
        Some(Self {
            number,
            args,
            stack: word()?,
            instruction: word()?,
        })
    }
}

/// Returns `se.exec_start` and `nr_voluntary_switches` of a `sched` file.
pub(super) fn parse_sched(text: &str) -> Option<(u64, u64)> {
    let value = |name| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim_end() == name).then(|| value.trim())
        })
    };
    // In milliseconds, with six decimals.
    let (milliseconds, rest) = value("se.exec_start")?.split_once('.')?;
    let since = milliseconds.parse::<u64>().ok()?.checked_mul(1_000_000)?;
    Some((
        since.checked_add(rest.parse().ok()?)?,
        value("nr_voluntary_switches")?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel() {
        let text = "sleep (77, #threads: 1)\n-------\n\
                    se.exec_start                                :       4061338.006425\n\
                    se.sum_exec_runtime                          :             0.161320\n\
                    nr_switches                                  :                    3\n\
                    nr_voluntary_switches                        :                    2\n";
        assert_eq!(parse_sched(text), Some((4_061_338_006_425, 2)));
        assert_eq!(parse_sched("nr_switches : 1\n"), None);

        let call =
            "232 0x3 0x7f8c2c000ba0 0x3ff 0xffffffff 0x0 0x1 0x7f8c33eeea30 0x7f8c34526f36\n";
        let call = Called::parse(call).unwrap();
        assert_eq!((call.number, call.args[3]), (232, 0xffff_ffff));
        assert_eq!(
            (call.stack, call.instruction),
            (0x7f8c_33ee_ea30, 0x7f8c_3452_6f36)
        );
        assert_eq!(Called::parse("running\n"), None);
        assert_eq!(Called::parse("-1 0x7ffc 0x7f01\n"), None);
    }
}
