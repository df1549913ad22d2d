// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The clocks that count from the boot of the machine, in nanoseconds, as the kernel has them: in
//! the initial time namespace, whichever namespace crust is in.

use std::sync::OnceLock;

use crust_model::plan::{Offsets, SECOND};
use crust_model::{Error, Result};
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

/// Returns the offsets in force for crust itself.
pub fn own_offsets() -> Offsets {
    static OWN: OnceLock<Offsets> = OnceLock::new();
    // Read before crust makes a time namespace for its children, whose offsets the file would show
    // from then on.
    *OWN.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/self/timens_offsets");
        text.ok()
            .and_then(|text| Offsets::parse(&text))
            .unwrap_or_default()
    })
}

/// Returns `CLOCK_MONOTONIC` of the initial time namespace.
#[must_use]
pub fn monotonic() -> u64 {
    let own = read(ClockId::CLOCK_MONOTONIC).unwrap_or_default();
    own.saturating_add_signed(-own_offsets().monotonic)
}

/// Returns `CLOCK_REALTIME`, and `CLOCK_MONOTONIC` of the initial time namespace.
pub fn day_and_monotonic() -> [u64; 2] {
    [
        read(ClockId::CLOCK_REALTIME).unwrap_or_default(),
        monotonic(),
    ]
}

/// Returns `CLOCK_BOOTTIME` of the initial time namespace.
#[must_use]
pub fn boottime() -> u64 {
    let own = read(ClockId::CLOCK_BOOTTIME).unwrap_or_default();
    own.saturating_add_signed(-own_offsets().boottime)
}

/// Reads any clock, as crust sees it.
///
/// # Errors
///
/// `EINVAL` for a clock that this kernel does not have.
pub fn read(clock: ClockId) -> Result<u64> {
    let now = clock_gettime(clock)
        .map_err(|errno: Errno| Error::system(format!("read clock {}", clock.as_raw()), errno))?;
    // Only the clock of the day can be before its epoch, which is 1970: then it is 0 to us.
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    Ok(seconds * SECOND + u64::try_from(now.tv_nsec()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs() {
        let before = monotonic();
        assert!(before > 0 && monotonic() >= before);
    }
}
