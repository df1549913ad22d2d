// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A timerfd, read from `fdinfo` (`fs/timerfd.c:timerfd_show`).
//!
//! `fdinfo` shows the time that is *left*, even for a timer that was set to a point in time (`TFD_TIMER_ABSTIME`). A
//! relative timer continues with the time that was left. The expiry of an absolute timer is computed from the program's
//! clock when the timer is read, so it still expires at that time, or at once if that has passed. Unread expirations
//! are put back with `TFD_IOC_SET_TICKS`.
//!
//! A periodic timer rests from when it has expired until it is read. Only `timerfd_gettime` finds out how often it
//! would have expired since, and when it will expire next.

use std::os::fd::AsFd;

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Arg, Call, Data, SECOND, Stage};
use crust_sys::timerfd;
use crust_tracee::clock;
use linux_raw_sys::ioctl::TFD_IOC_SET_TICKS;
use nix::time::ClockId;
use serde::{Deserialize, Serialize};

use super::collect::FileCapture;
use super::fd_plan::FdPlanner;
use super::probe::Probe;
use super::{DescriptionId, File, FileKind, Open};
use crate::file::OfFile;
use crate::kind::Kind;
use crate::namespace::time::offsets_of;

/// A timerfd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timerfd {
    /// The flags, owner and locks of the description.
    pub open: Open,
    /// The clock: `CLOCK_MONOTONIC`, `CLOCK_REALTIME`, ...
    pub clock: i32,
    /// The flags of the timer: `TFD_TIMER_ABSTIME`, `TFD_TIMER_CANCEL_ON_SET`.
    pub flags: i32,
    /// Nanoseconds that were left, or the expiry time of an absolute timer; 0 if it is not armed.
    pub value: u64,
    /// Nanoseconds between expirations; 0 for a one-shot timer.
    pub interval: u64,
    /// The number of unread expirations.
    pub ticks: u64,
}

impl State for Timerfd {
    const TAG: u16 = 0x0316;
    const NAME: &'static str = "timerfd";
    const SUPPORT: &'static str = "Clock, remaining time or moment, interval, unread expirations. A clock that was \
                                   set meanwhile does not end a TFD_TIMER_CANCEL_ON_SET.";

    fn describe(&self) -> String {
        format!(
            "clock {}, value {} ns, interval {} ns, {} unread",
            self.clock, self.value, self.interval, self.ticks
        )
    }
}

impl File for Timerfd {
    fn open(&self) -> &Open {
        &self.open
    }

    fn create(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let number = planner.creator(id)?.number;
        planner.make(id, |cloexec| {
            let cloexec = if cloexec { libc::TFD_CLOEXEC } else { 0 };
            let flags = self.open.flags & libc::O_NONBLOCK | cloexec;
            let args = [Arg::from(self.clock), Arg::from(flags)];
            let what = format!("fd {number}: timerfd on clock {}", self.clock);
            Call::new(what, libc::SYS_timerfd_create, args)
        })
    }

    fn connect(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let creator = planner.creator(id)?;
        let number = creator.number;
        // Arm the timer as late as possible, so that the restore itself takes little of the time
        // that is left. A timer that is only in flight has no number any more by then.
        let is_lasting = planner.occupant(number).is_some();
        let stage = if is_lasting {
            Stage::Timers
        } else {
            Stage::ConnectFiles
        };
        if self.value != 0 {
            let times = [self.interval, self.value]
                .map(|time| [time / SECOND, time % SECOND])
                .concat();
            let args = [
                Arg::from(number),
                Arg::from(self.flags),
                Arg::from(Data::words(&times)),
                Arg::from(0),
            ];
            let what = format!("fd {number}: arm the timer");
            planner.call_later(stage, Call::new(what, libc::SYS_timerfd_settime, args));
        }
        if self.ticks != 0 {
            let args = [
                Arg::from(number),
                Arg::from(TFD_IOC_SET_TICKS),
                Arg::from(Data::words(&[self.ticks])),
            ];
            let what = format!("fd {number}: {} expirations", self.ticks);
            planner.call_later(stage, Call::new(what, libc::SYS_ioctl, args));
        }
        Ok(())
    }
}

impl Kind for Timerfd {
    type Source = OfFile;
}

impl FileKind for Timerfd {
    fn matches(probe: &Probe) -> bool {
        probe.is_linked("anon_inode:[timerfd]")
    }

    fn capture<'a>(probe: &Probe<'a>, cx: &mut FileCapture<'a>) -> Result<()> {
        let clock = probe.demand("clockid", |text| text.parse().ok())?;
        let flags = probe.demand("settime flags", |text| i32::from_str_radix(text, 8).ok())?;
        let interval = probe.demand("it_interval", parse_time)?;
        let mut value = probe.demand("it_value", parse_time)?;
        let mut ticks = probe.demand("ticks", parse_number)?;
        if interval != 0 && value == 0 {
            (value, ticks) = running(probe)?;
        }
        if ticks != 0 && flags & libc::TFD_TIMER_CANCEL_ON_SET != 0 {
            cx.lose(
                probe,
                "timerfd-expired",
                "the kernel does not tell whether it has expired or its clock was set: it is taken to have expired",
                "nothing needs to be done, unless the clock was set a moment ago",
            );
        }
        if value != 0 && flags & libc::TFD_TIMER_ABSTIME != 0 {
            value = value.saturating_add(now(probe, clock)?);
        }
        cx.keep(
            probe.id,
            Timerfd {
                open: probe.open(),
                clock,
                flags,
                value,
                interval,
                ticks,
            },
        )
    }
}

/// Restarts a periodic timer that rests, and returns when it expires next and how often it has
/// expired.
fn running(probe: &Probe<'_>) -> Result<(u64, u64)> {
    // A timer that expires every few microseconds may have done so in between.
    const ATTEMPTS: u32 = 20;
    let timer = probe.take()?;
    let mut state = (1, 1);
    for _ in 0..ATTEMPTS {
        let (value, _) =
            timerfd::get(timer.as_fd()).map_err(|errno| probe.failed("timerfd_gettime", errno))?;
        let probe = Probe::new(probe.holder, probe.number, probe.object.clone())?;
        state = (value.max(1), probe.demand("ticks", parse_number)?);
        if probe.demand("it_value", parse_time)? != 0 {
            break;
        }
    }
    Ok(state)
}

fn parse_number(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// Returns the time of a clock as the program that has the timer sees it.
fn now(probe: &Probe<'_>, clock: i32) -> Result<u64> {
    let theirs = offsets_of(probe.holder.proc, probe.holder.pid)?;
    let ours = clock::own_offsets();
    // A clock that wakes the machine shows the same time as the one that does not.
    let (clock, shift) = match clock {
        libc::CLOCK_MONOTONIC => (clock, theirs.monotonic - ours.monotonic),
        libc::CLOCK_BOOTTIME | libc::CLOCK_BOOTTIME_ALARM => {
            (libc::CLOCK_BOOTTIME, theirs.boottime - ours.boottime)
        }
        _ => (libc::CLOCK_REALTIME, 0),
    };
    Ok(clock::read(ClockId::from_raw(clock))?.saturating_add_signed(shift))
}

/// Parses `(seconds, nanoseconds)` into nanoseconds.
fn parse_time(text: &str) -> Option<u64> {
    let (seconds, nanoseconds) = text
        .strip_prefix('(')?
        .strip_suffix(')')?
        .split_once(", ")?;
    let seconds: u64 = seconds.parse().ok()?;
    seconds
        .checked_mul(SECOND)?
        .checked_add(nanoseconds.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_kernel() {
        assert_eq!(parse_time("(3, 5)"), Some(3_000_000_005));
        assert_eq!(parse_time("(0, 0)"), Some(0));
        assert_eq!(parse_time("3, 5"), None);
    }
}
