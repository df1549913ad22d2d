// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Winds rings on. Only the kernel advances the counters of an io_uring, by one for each request, so a new ring gets as
//! many requests that do nothing as the old one had, before the old ring's memory is written into it.

use std::os::fd::AsFd;

use crust_model::plan::{Operation, TaskHandle};
use crust_model::{Error, Result};
use crust_sys::pidfd;
use crust_sys::uring::{self, ENTRY, OFFSET_ENTRIES, OFFSET_RINGS, Region};
use nix::errno::Errno;

use super::{Uring, check};

/// Gives a new ring of a task the counters and the memory of an old one.
#[derive(Debug)]
pub struct WindRing {
    /// The descriptor of the new ring.
    pub number: i32,
    /// The state that the ring is to have.
    pub ring: Uring,
}

impl Operation for WindRing {
    fn describe(&self) -> String {
        format!(
            "fd {}: wind the ring on by {} requests",
            self.number, self.ring.count
        )
    }

    fn run(&self, task: &mut dyn TaskHandle) -> Result<()> {
        wind(task.pid(), self.number, &self.ring)
    }
}

fn wind(pid: i32, number: i32, ring: &Uring) -> Result<()> {
    check(ring)?;
    let failed = |operation: &str| {
        let what = format!("fd {number}: {operation}");
        move |errno| Error::task(pid, what, errno)
    };
    let taken = pidfd::open(pid).and_then(|task| pidfd::get_fd(task.as_fd(), number));
    let file = taken.map_err(failed("take the ring"))?;
    let map =
        |offset, length| Region::map(file.as_fd(), offset, length).map_err(failed("map the ring"));
    let rings = map(OFFSET_RINGS, ring.length())?;
    let entries = map(OFFSET_ENTRIES, ENTRY * ring.entries as usize)?;
    let places = &ring.places;
    // Name each entry at its own place, which is right if the old ring had no array. All entries are zeros, and ask for
    // nothing.
    for entry in 0..ring.entries {
        rings.store(places.array + 4 * entry, entry);
    }
    let mut done = 0;
    while done < ring.count {
        let more = (ring.count - done).min(ring.entries).min(ring.completions);
        done += more;
        rings.store(places.sq_tail, done);
        let submitted = uring::submit(file.as_fd(), more).map_err(failed("wind it on"))?;
        let now = (rings.load(places.sq_head), rings.load(places.cq_tail));
        if submitted != more || now != (done, done) {
            return Err(failed("wind it on to where it was")(Errno::EIO));
        }
        rings.store(places.cq_head, done);
    }
    // The kernel's counters are in this memory too, and already have these values.
    rings
        .write(0, &ring.rings)
        .and_then(|()| entries.write(0, &ring.requests))
        .map_err(failed("write its memory"))
}
