// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Timer descriptors.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use rustix::time::{Timespec, timerfd_gettime};

use crate::Result;
use crate::raw::errno;

const SECOND: u64 = 1_000_000_000;

/// Returns when a timer expires next, and its interval, in nanoseconds; 0 for never
/// (`timerfd_gettime(2)`).
///
/// A periodic timer that nobody has read since it expired does not run. This call restarts it, and
/// adds the expirations that it missed to the count that can be read, as reading does.
pub fn get(fd: BorrowedFd<'_>) -> Result<(u64, u64)> {
    let times = timerfd_gettime(fd).map_err(errno)?;
    Ok((
        nanoseconds(times.it_value)?,
        nanoseconds(times.it_interval)?,
    ))
}

/// Returns a time in nanoseconds: `EOVERFLOW` if it is negative or longer than 584 years, which
/// the kernel never reports.
fn nanoseconds(time: Timespec) -> Result<u64> {
    let (seconds, rest) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    let whole = seconds.ok().and_then(|seconds| seconds.checked_mul(SECOND));
    whole
        .zip(rest.ok())
        .and_then(|(whole, rest)| whole.checked_add(rest))
        .ok_or(Errno::EOVERFLOW)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

    use super::*;

    #[test]
    fn what_was_set() {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::empty()).unwrap();
        assert_eq!(get(timer.as_fd()), Ok((0, 0)));
        let when = Expiration::IntervalDelayed(TimeSpec::new(3600, 0), TimeSpec::new(60, 5));
        timer.set(when, TimerSetTimeFlags::empty()).unwrap();
        let (value, interval) = get(timer.as_fd()).unwrap();
        assert!(value > 0 && value <= 3600 * SECOND, "{value}");
        assert_eq!(interval, 60 * SECOND + 5);
    }
}
