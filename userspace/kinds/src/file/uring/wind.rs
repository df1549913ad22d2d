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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::scripted_task::{ScriptedTask, assert_fails};

    const ENTRIES: u32 = 64;
    const COMPLETIONS: u32 = 128;

    /// Returns a ring, and the state of one of the same size after `count` requests.
    fn ring(count: u32) -> Option<(uring::Made, Uring)> {
        let made = match uring::make(ENTRIES, COMPLETIONS) {
            Err(errno @ (Errno::EPERM | Errno::ENOSYS)) => {
                eprintln!("skipped: the kernel makes no ring: {errno}");
                return None;
            }
            made => made.unwrap(),
        };
        let mut ring = Uring {
            entries: ENTRIES,
            completions: COMPLETIONS,
            count,
            places: made.places,
            ..Uring::default()
        };
        ring.rings = memory(&made, &ring).read().unwrap();
        let places = &made.places;
        for place in [
            places.sq_head,
            places.sq_tail,
            places.cq_head,
            places.cq_tail,
        ] {
            ring.rings[place as usize..][..4].copy_from_slice(&count.to_ne_bytes());
        }
        Some((made, ring))
    }

    fn memory(made: &uring::Made, ring: &Uring) -> Region {
        Region::map(made.ring.as_fd(), OFFSET_RINGS, ring.length()).unwrap()
    }

    /// Winds a ring of the test itself on.
    fn run(number: i32, ring: Uring) -> Result<()> {
        let mut task = ScriptedTask::new([]);
        WindRing { number, ring }.run(&mut task)
    }

    #[test]
    fn the_kernel_counts_on_from_there() {
        const COUNT: u32 = 1000;
        let Some((made, ring)) = ring(COUNT) else {
            return;
        };
        run(made.ring.as_raw_fd(), ring.clone()).unwrap();
        let memory = memory(&made, &ring);
        memory.store(made.places.sq_tail, COUNT + 1);
        assert_eq!(uring::submit(made.ring.as_fd(), 1), Ok(1));
        assert_eq!(memory.load(made.places.sq_head), COUNT + 1);
        assert_eq!(memory.load(made.places.cq_tail), COUNT + 1);
    }

    #[test]
    fn a_ring_that_has_been_used_is_not_where_it_was() {
        let Some((made, ring)) = ring(10) else {
            return;
        };
        let memory = memory(&made, &ring);
        memory.store(made.places.sq_tail, 1);
        assert_eq!(uring::submit(made.ring.as_fd(), 1), Ok(1));
        let message = assert_fails(run(made.ring.as_raw_fd(), ring), Errno::EIO);
        assert!(message.contains("wind it on to where it was"), "{message}");
    }

    #[test]
    fn what_is_not_a_ring_is_an_error() {
        let ring = Uring {
            entries: ENTRIES,
            completions: COMPLETIONS,
            ..Uring::default()
        };
        let message = assert_fails(run(i32::MAX, ring.clone()), Errno::EBADF);
        assert!(message.contains("take the ring"), "{message}");
        let null = File::open("/dev/null").unwrap();
        let message = run(null.as_raw_fd(), ring.clone()).unwrap_err().to_string();
        assert!(message.contains("map the ring"), "{message}");
        let damaged = Uring { entries: 3, ..ring };
        let error = run(null.as_raw_fd(), damaged).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
    }
}
