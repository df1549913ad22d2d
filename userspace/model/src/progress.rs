// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Progress reports of a dump or restore.

use std::time::Duration;

/// A part of the work that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Dump: all threads are stopped.
    Frozen {
        /// The number of processes, zombies included.
        processes: u64,
        /// The number of their threads.
        threads: u64,
        /// The time since the first thread was stopped.
        took: Duration,
    },
    /// Dump: everything but the contents of memory has been captured.
    Captured {
        /// The number of records.
        objects: u64,
        /// The time it took.
        took: Duration,
    },
    /// Dump with `--leave-running`: the program continues, its memory is yet to be written.
    LetGo {
        /// How long the program was stopped.
        frozen: Duration,
    },
    /// Dump: the contents of memory are in the image.
    Pages {
        /// The number of bytes.
        bytes: u64,
        /// The time it took.
        took: Duration,
    },
    /// Dump: the image is complete and has its final name.
    Written {
        /// The length in bytes.
        bytes: u64,
        /// The time it took to complete the image and, unless told otherwise, to sync it to disk.
        took: Duration,
    },
    /// Dump: the whole tree is gone, and its process ids are free.
    Reaped {
        /// The time it took.
        took: Duration,
    },
    /// Restore: the image has been read and the plan made.
    Planned {
        /// The number of records in the image.
        objects: u64,
        /// The number of steps in the plan.
        steps: u64,
        /// The time it took.
        took: Duration,
    },
    /// Restore: all steps of some stages, which were run as one, have been done.
    Stages {
        /// The first of these stages.
        first: crate::plan::Stage,
        /// The last of these stages.
        last: crate::plan::Stage,
        /// The time it took.
        took: Duration,
    },
}

/// A receiver of progress reports. The default methods do nothing.
pub trait Progress {
    /// Reports that a part of the work is done.
    fn phase(&mut self, _phase: &Phase) {}

    /// Reports that `done` of `total` bytes of memory have been written or read. Called now and
    /// then, and must be cheap.
    fn memory(&mut self, _done: u64, _total: u64) {}
}

/// A receiver that ignores all reports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}
