// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The clocks of a restored tree that count from the boot of the machine.

use crust_sys::word;
use serde::{Deserialize, Serialize};

/// The nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// The offsets that a time namespace adds to the clocks (`/proc/PID/timens_offsets`), in
/// nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offsets {
    /// The offset of `CLOCK_MONOTONIC` and related clocks.
    pub monotonic: i64,
    /// The offset of `CLOCK_BOOTTIME` and related clocks.
    pub boottime: i64,
}

impl Offsets {
    /// Parses the file.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let of = |clock| {
            text.lines().find_map(|line| {
                let mut words = line.split_ascii_whitespace();
                (words.next()? == clock).then_some(())?;
                let seconds: i64 = words.next()?.parse().ok()?;
                let rest: i64 = words.next()?.parse().ok()?;
                seconds
                    .checked_mul(word::to_long(SECOND))?
                    .checked_add(rest)
            })
        };
        Some(Self {
            monotonic: of("monotonic")?,
            boottime: of("boottime")?,
        })
    }
}

/// The clocks of the tree that count from the boot of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// The offsets of the time namespace at the dump.
    pub before: Offsets,
    /// The time namespace after the restore.
    pub after: After,
}

/// The time namespace in which a tree is born.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// The one of crust.
    #[default]
    OfCrust,
    /// A new one with these offsets.
    Shifted(Offsets),
    /// A new one in which the clocks continue from these times, in nanoseconds.
    Continued {
        /// `CLOCK_MONOTONIC`.
        monotonic: u64,
        /// `CLOCK_BOOTTIME`.
        boottime: u64,
    },
}

impl After {
    /// Returns the offsets of the namespace on a machine whose clocks have the values `machine`
    /// (monotonic and boot time) in the initial namespace, and for crust are ahead of that by
    /// `ours`.
    #[must_use]
    pub fn offsets(self, machine: [u64; 2], ours: Offsets) -> Offsets {
        match self {
            Self::OfCrust => ours,
            Self::Shifted(offsets) => offsets,
            Self::Continued {
                monotonic,
                boottime,
            } => {
                // Whole ticks of `/proc/PID/stat`, so that start times in there stay the same.
                const TICK: i64 = 10_000_000;
                let ticks = |offset: u64| -(-word::to_long(offset)).div_euclid(TICK) * TICK;
                Offsets {
                    monotonic: ticks(monotonic.wrapping_sub(machine[0])),
                    boottime: ticks(boottime.wrapping_sub(machine[1])),
                }
            }
        }
    }

    /// Returns by how much a moment must be shifted (monotonic and boot time, in the initial
    /// namespace) so that the program sees it unchanged, if the namespace of the dump had the
    /// offsets `before`.
    #[must_use]
    pub fn shift(self, before: Offsets, machine: [u64; 2], ours: Offsets) -> [i64; 2] {
        let after = self.offsets(machine, ours);
        [
            before.monotonic - after.monotonic,
            before.boottime - after.boottime,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_the_kernel() {
        let text = "monotonic        -12  5\nboottime          100         0\n";
        let offsets = Offsets {
            monotonic: -12 * word::to_long(SECOND) + 5,
            boottime: 100 * word::to_long(SECOND),
        };
        assert_eq!(Offsets::parse(text), Some(offsets));
        assert_eq!(Offsets::parse("monotonic 1 2\n"), None);
    }
}
