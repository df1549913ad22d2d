// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The time namespace in which the root of a tree is born.
//!
//! A process creates a time namespace for its children (`unshare(CLONE_NEWTIME)`), and its offsets
//! can be set until the first child exists.

use std::fs::File;
use std::os::fd::AsFd;

use crust_model::plan::{After, Offsets, SECOND};
use crust_model::{Error, Result};
use crust_sys::word;
use nix::sched::{CloneFlags, setns, unshare};

use crate::clock;

// The nix crate lacks it.
const CLONE_NEWTIME: CloneFlags = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);

/// While this is alive, the children of crust are born in a time namespace.
pub(super) struct Birthplace {
    /// The time namespace of crust.
    own: Option<File>,
    /// The offsets that the namespace adds to the clocks.
    pub offsets: Offsets,
}

impl Birthplace {
    pub fn new(after: After) -> Result<Self> {
        const OFFSETS: &str = "/proc/self/timens_offsets";
        let ours = clock::own_offsets();
        let machine = [clock::monotonic(), clock::boottime()];
        let mut place = Self {
            own: None,
            offsets: after.offsets(machine, ours),
        };
        if after == After::OfCrust {
            return Ok(place);
        }
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: std::io::Error| Error::from_io(what, &error)
        };
        let own = File::open("/proc/self/ns/time").map_err(failed("open the time namespace"))?;
        unshare(CLONE_NEWTIME).map_err(|errno| Error::system("make a time namespace", errno))?;
        place.own = Some(own);
        let text = text(place.offsets);
        std::fs::write(OFFSETS, text).map_err(failed("set the clocks of the time namespace"))?;
        Ok(place)
    }
}

impl Drop for Birthplace {
    fn drop(&mut self) {
        if let Some(own) = &self.own {
            // This only matters to children that crust does not make. A program with several threads
            // may not do it.
            let _ = setns(own.as_fd(), CLONE_NEWTIME);
        }
    }
}

/// Formats offsets as the kernel reads them: whole seconds, rounded down, and nanoseconds.
fn text(offsets: Offsets) -> String {
    let line = |clock: &str, offset: i64| {
        let second = word::to_long(SECOND);
        let (seconds, rest) = (offset.div_euclid(second), offset.rem_euclid(second));
        format!("{clock} {seconds} {rest}\n")
    };
    line("monotonic", offsets.monotonic) + &line("boottime", offsets.boottime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_as_they_are_written() {
        let offsets = Offsets {
            monotonic: -1,
            boottime: 5 * word::to_long(SECOND) + 7,
        };
        let text = text(offsets);
        assert_eq!(text, "monotonic -1 999999999\nboottime 5 7\n");
        assert_eq!(Offsets::parse(&text), Some(offsets));
    }

    #[test]
    fn clocks_that_go_on() {
        let clocks = After::Continued {
            monotonic: 1_000_000_000,
            boottime: 3_000_000_000,
        };
        let before = Offsets {
            monotonic: 1,
            boottime: 2,
        };
        // The machine has been up for less time, and then for longer.
        let machine = [400_000_001, 5_000_000_000];
        let offsets = clocks.offsets(machine, Offsets::default());
        // Offsets are whole ticks; the clock does not go back.
        assert_eq!(
            (offsets.monotonic, offsets.boottime),
            (600_000_000, -2_000_000_000)
        );
        assert_eq!(
            clocks.shift(before, machine, Offsets::default()),
            [-599_999_999, 2_000_000_002]
        );
    }
}
