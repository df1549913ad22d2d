// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a dump or restore says while it is under way.

use std::time::Duration;

/// A part of the work is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Dump: all threads are stopped.
    Frozen {
        /// Processes, zombies included.
        processes: u64,
        /// Their threads.
        threads: u64,
        /// How long it took from the first thread on.
        took: Duration,
    },
    /// Dump: everything but the contents of memory is known.
    Captured {
        /// Records.
        objects: u64,
        /// How long it took.
        took: Duration,
    },
    /// Dump with `--leave-running`: the program goes on, its memory is yet to be written.
    LetGo {
        /// How long it was stopped.
        frozen: Duration,
    },
    /// Dump: the contents of memory are in the image.
    Pages {
        /// Bytes.
        bytes: u64,
        /// How long it took.
        took: Duration,
    },
    /// Dump: the image is complete and has its name.
    Written {
        /// Its length in bytes.
        bytes: u64,
        /// How long it took to complete it and, unless told otherwise, to get it to the disk.
        took: Duration,
    },
    /// Dump: the whole tree is gone, and its numbers are free.
    Reaped {
        /// How long it took.
        took: Duration,
    },
    /// Restore: the image was read and the plan made.
    Planned {
        /// Records of the image.
        objects: u64,
        /// Steps of the plan.
        steps: u64,
        /// How long it took.
        took: Duration,
    },
    /// Restore: all steps of some stages, which were run as one, are done.
    Stages {
        /// From this one.
        first: crate::plan::Stage,
        /// To this one.
        last: crate::plan::Stage,
        /// How long it took.
        took: Duration,
    },
}

/// Who is told. The default methods say nothing.
pub trait Progress {
    /// A part of the work is done.
    fn phase(&mut self, _phase: &Phase) {}

    /// `done` of `total` bytes of memory are written or read. Called now and then, and cheap to
    /// call.
    fn memory(&mut self, _done: u64, _total: u64) {}
}

/// Nobody is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}
