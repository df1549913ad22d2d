// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Plans how the timers of a process are created and armed.

use std::collections::HashMap;

use crust_model::plan::clocks::SECOND;
use crust_model::plan::{Call, Data, Moment, ProcessId, Stage};
use crust_sys::signal::{self, OfTimer};
use crust_sys::word;
use crust_tracee::remote::END_OF_BATCH;
use linux_raw_sys::prctl::PR_TIMER_CREATE_RESTORE_IDS;

use super::Timer;
use crate::plan_context::PlanCx;

const TIMER_ABSTIME: i32 = libc::TIMER_ABSTIME;
/// The offset of the next expiration in `struct itimerspec`.
const VALUE: usize = 16;

/// A timer that is made to expire when its signal is due in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired(Timer);

pub(super) fn plan(timers: &[Timer], process: ProcessId, cx: &mut PlanCx<'_>) {
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
    cx.plan.call(Stage::Timers, leader, keep_ids(1));
    for timer in timers {
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
        cx.plan.call(Stage::Timers, leader, call);
    }
    cx.plan.call(Stage::Timers, leader, keep_ids(0));
    for timer in timers {
        if timer.can_expire() {
            let expired = timer.waits.then_some(Expired(*timer));
            cx.notes
                .of::<ExpiredTimers>()
                .insert((process, timer.says()), expired);
        }
        if timer.waits && timer.can_expire() {
            // The timer is armed together with its signal.
        } else if timer.overrun != 0 {
            for call in timer.overrun() {
                cx.plan.call(Stage::Timers, leader, call);
            }
        } else if timer.left != 0 {
            cx.plan.call(Stage::Timers, leader, timer.arm());
        }
    }
}

impl Timer {
    /// Returns the call that arms the timer for the time that is left, or for its point in time.
    fn arm(&self) -> Call {
        let (flags, value) = match self.moment {
            Some(moment) => (TIMER_ABSTIME, moment),
            None => (0, self.left),
        };
        self.set("arm", flags, Data::words(&self.times(value)))
    }

    fn set(&self, what: &str, flags: i32, times: Data) -> Call {
        let what = format!("POSIX timer {}: {what}", self.id);
        let args = [self.id.into(), flags.into(), times.into(), 0.into()];
        Call::new(what, libc::SYS_timer_settime, args)
    }

    /// Returns the words of `struct itimerspec`: the interval, and the next expiration.
    fn times(&self, value: u64) -> [u64; 4] {
        let seconds = |ns: u64| [ns / SECOND, ns % SECOND];
        let ([a, b], [c, d]) = (seconds(self.interval), seconds(value));
        [a, b, c, d]
    }

    /// Returns whether the timer expires at once if it is set to a moment in the past. CPU-time clocks are only checked
    /// from time to time.
    fn can_expire(&self) -> bool {
        self.measured().is_none() && self.signal != END_OF_BATCH
    }

    /// Returns the clock of the timer, or an equivalent one that can be read.
    fn readable_clock(&self) -> i32 {
        match self.clock {
            libc::CLOCK_REALTIME_ALARM => libc::CLOCK_REALTIME,
            libc::CLOCK_BOOTTIME_ALARM => libc::CLOCK_BOOTTIME,
            clock => clock,
        }
    }

    /// Returns the call that sets the timer to a moment `expirations` intervals before its next expiration.
    fn set_back(&self, expirations: u64, what: &str) -> Call {
        let before = self.interval.saturating_mul(expirations);
        let left = i64::try_from(self.left).unwrap_or(i64::MAX);
        let moment = Moment {
            clock: self.readable_clock(),
            from_now: left.saturating_sub_unsigned(before),
        };
        let times = Data::words(&self.times(0)).moment(VALUE, moment);
        self.set(what, TIMER_ABSTIME, times)
    }

    /// Returns the calls that make the timer expire so often that taking its signal yields the overrun count.
    fn overrun(&self) -> [Call; 2] {
        let take = [
            Data::words(&[crust_sys::signal::bit(self.signal)]).into(),
            0.into(),
            // The signal comes at once.
            Data::words(&[60, 0]).into(),
            signal::SET_SIZE.into(),
        ];
        let what = format!("POSIX timer {}: take its signal", self.id);
        let take = Call::new(what, libc::SYS_rt_sigtimedwait, take);
        [
            self.set_back(u64::from(self.overrun) + 1, "expire as often as it did"),
            take.must_return(word::from_int(self.signal)),
        ]
    }
}

/// The timers whose pending signals are reproduced, by the process and the timer fields of the signal; `None` if the
/// timer need not be made to expire.
pub type ExpiredTimers = HashMap<(ProcessId, OfTimer), Option<Expired>>;

impl Expired {
    /// Returns the calls that make the timer expire, so that its signal is pending; the second returns when it has
    /// expired.
    pub fn again(&self) -> [Call; 2] {
        let timer = self.0;
        let expire = if timer.interval == 0 {
            let times = Data::words(&timer.times(1));
            timer.set("expire again", 0, times)
        } else {
            timer.set_back(1, "expire again")
        };
        let nap = [Data::words(&[0, 1]).into(), 0.into()];
        let what = format!("POSIX timer {}: let it expire", timer.id);
        [expire, Call::new(what, libc::SYS_nanosleep, nap)]
    }
}

#[cfg(test)]
mod tests {
    use crust_model::plan::Arg;

    use super::super::parse;
    use super::*;

    fn timer() -> Timer {
        let text = "ID: 3\nsignal: 34/0000000000000000\nnotify: signal/pid.71\nClockID: 1\n";
        Timer {
            left: 4,
            interval: 10,
            ..parse(text).unwrap()[0]
        }
    }

    fn moment(call: &Call) -> (Moment, u64) {
        let Arg::Data(times) = &call.args[2] else {
            panic!("no data")
        };
        let flags = &call.args[1];
        let (offset, moment) = times.moments[0];
        assert_eq!(offset, VALUE);
        match flags {
            Arg::Value(flags) => (moment, *flags),
            _ => panic!("flags"),
        }
    }

    #[test]
    fn a_timer_that_waits_expired_at_the_last_beat() {
        let [expire, nap] = Expired(timer()).again();
        assert_eq!(nap.nr, libc::SYS_nanosleep);
        let (moment, flags) = moment(&expire);
        assert_eq!((moment.from_now, flags), (-6, TIMER_ABSTIME as u64));
    }

    #[test]
    fn overruns_are_beats_before_the_last() {
        let timer = Timer {
            overrun: 2,
            ..timer()
        };
        let [expire, take] = timer.overrun();
        assert_eq!(moment(&expire).0.from_now, -26);
        assert_eq!(take.nr, libc::SYS_rt_sigtimedwait);
        assert!(timer.can_overrun(71));
    }
}
