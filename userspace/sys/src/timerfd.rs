// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Timer descriptors.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Result;
use crate::raw::syscall;

const SECOND: u64 = 1_000_000_000;

/// Returns when a timer expires next, and its interval, in nanoseconds; 0 for never
/// (`timerfd_gettime(2)`).
///
/// A periodic timer that nobody has read since it expired does not run. This call restarts it, and
/// adds the expirations that it missed to the count that can be read, as reading does.
pub fn get(fd: BorrowedFd<'_>) -> Result<(u64, u64)> {
    let mut times = [0_u64; 4];
    // SAFETY: the kernel writes a `struct itimerspec`, which is four words.
    unsafe {
        syscall!(
            libc::SYS_timerfd_gettime,
            fd.as_raw_fd(),
            times.as_mut_ptr()
        )
    }?;
    let [seconds, nanoseconds, value_seconds, value_nanoseconds] = times;
    Ok((
        value_seconds * SECOND + value_nanoseconds,
        seconds * SECOND + nanoseconds,
    ))
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
