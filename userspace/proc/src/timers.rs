// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Determines whether a timer of the realtime clock was set to a point in time, or for a duration.
//!
//! No interface tells that, but `/proc/timer_list` shows where the kernel keeps the timer: among
//! those of the realtime clock, or among those of the monotonic clock. The list has no names, so a
//! timer is recognised by its expiry time.

/// The expiry times of the kernel's timers behind POSIX timers, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimerList {
    realtime: Vec<u64>,
    monotonic: Vec<u64>,
}

/// How much earlier than the clock a timer may have been read, in nanoseconds.
const SINCE: u64 = 50_000_000;

impl TimerList {
    /// Reads the list of the kernel; `None` if we may not see it.
    pub fn read() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/timer_list").ok()?;
        Some(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut list = Self::default();
        let mut base = 0;
        let mut is_posix = false;
        for line in text.lines() {
            let line = line.trim_start();
            if let Some(index) = line.strip_prefix(".index:") {
                base = index.trim().parse().unwrap_or(u32::MAX);
            } else if line.starts_with('#') && line.contains('<') {
                is_posix = line.contains(", posix_timer_fn,");
            } else if let Some(rest) = line.strip_prefix("# expires at ") {
                let expires = rest.split('-').next().and_then(|text| text.parse().ok());
                // The bases from 4 on are those of soft interrupts (include/linux/hrtimer_defs.h).
                match (is_posix, base % 4, expires) {
                    (true, 0, Some(expires)) => list.monotonic.push(expires),
                    (true, 1, Some(expires)) => list.realtime.push(expires),
                    _ => {}
                }
            }
        }
        list
    }

    /// Returns the point in time to which a timer was set that had `left` to go just before the
    /// clocks (realtime, monotonic) had the values `now`; `None` if it was set for a duration.
    pub fn moment(&self, left: u64, now: [u64; 2]) -> Option<u64> {
        let nearest = |moments: &[u64], now: u64| {
            let latest = now + left;
            moments
                .iter()
                .filter(|&&moment| moment <= latest && moment >= latest.saturating_sub(SINCE))
                .map(|&moment| (latest - moment, moment))
                .min()
        };
        let absolute = nearest(&self.realtime, now[0])?;
        match nearest(&self.monotonic, now[1]) {
            Some(relative) if relative.0 < absolute.0 => None,
            _ => Some(absolute.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_of_both_kinds() {
        let text = "cpu: 0\n clock 0:\n  .base:       00000000a860ee08\n  .index:      0\nactive timers:\n \
                    #0: <0000000035d78fab>, tick_nohz_handler, S:01\n \
                    # expires at 4062404000000-4062404000000 nsecs [in 3050872 to 3050872 nsecs]\n \
                    #1: <00000000b65a12c0>, posix_timer_fn, S:01\n \
                    # expires at 5000000000-5000000000 nsecs [in 14380504 to 14430504 nsecs]\n \
                    clock 1:\n  .index:      1\n \
                    #0: <00000000b65a12c0>, posix_timer_fn, S:01\n \
                    # expires at 900000000000-900000000000 nsecs [in 1 to 1 nsecs]\n";
        let list = TimerList::parse(text);
        assert_eq!(list.realtime, [900_000_000_000]);
        assert_eq!(list.monotonic, [5_000_000_000]);
        let now = [800_000_001_000, 1_000_000_000];
        assert_eq!(list.moment(100_000_000_000, now), Some(900_000_000_000));
        // A timer of the monotonic clock, and one that does not exist.
        assert_eq!(list.moment(4_000_000_000, now), None);
        assert_eq!(list.moment(7, now), None);
        // It would have been read in the future.
        assert_eq!(list.moment(99_999_998_000, now), None);
    }
}
