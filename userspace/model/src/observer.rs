// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The observer of a dump or restore: who is told how it proceeds, and may have it abandoned.
//!
//! A progress display is one. What prepares a machine for a restore, or asks a container runtime
//! whether the program may be stopped now, is another; for these there are points with the names of
//! CRIU's action scripts, such as [`Point::PreDump`].

use std::time::Duration;

use crate::plan::Stage;
use crate::{Error, Result};

/// A point that a dump or restore has reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    /// Dump: nothing has been stopped yet. CRIU calls it `pre-dump`.
    PreDump {
        /// The root of the tree.
        pid: i32,
    },
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
    /// Dump: a part of the contents of memory has been written. This is reached often, so an observer
    /// must be quick.
    Memory {
        /// The number of bytes so far.
        done: u64,
        /// The number of bytes in total.
        total: u64,
    },
    /// Dump: the contents of memory are in the image.
    Pages {
        /// The number of bytes.
        bytes: u64,
        /// The time it took.
        took: Duration,
    },
    /// Dump: everything is captured and written, but the image has no name yet, or is not sent yet,
    /// and a program that is to end still exists. CRIU calls it `post-dump`, and its images have
    /// their names by then; here, a veto leaves an older image of that name as it was.
    PostDump {
        /// The root of the tree.
        pid: i32,
    },
    /// Dump: a part of the image has been sent to a stream. This is reached often, so an observer must
    /// be quick. It is too late for a veto, because all may have been sent when it takes effect.
    Sent {
        /// The number of bytes so far.
        done: u64,
        /// The number of bytes in total.
        total: u64,
    },
    /// Dump: the image is complete and has its final name, or has been sent. It is too late for a veto.
    Written {
        /// The length in bytes.
        bytes: u64,
        /// The time it took to complete the image and, unless told otherwise, to sync it to disk.
        took: Duration,
    },
    /// Dump: the whole tree is gone, and its process ids are free. It is too late for a veto.
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
    /// Restore: nothing has been created yet, and what is in the way on this machine is looked for
    /// next. CRIU calls it `pre-restore`.
    PreRestore,
    /// Restore: all steps of some stages, which were run as one, have been done.
    Stages {
        /// The first of these stages.
        first: Stage,
        /// The last of these stages.
        last: Stage,
        /// The time it took.
        took: Duration,
    },
    /// Restore: the tree is complete, and has not run yet. CRIU calls it `pre-resume`.
    PreResume {
        /// The root of the tree.
        pid: i32,
    },
    /// Restore: the program runs, or is stopped if that was asked for. It is too late for a veto.
    /// CRIU calls it `post-resume`.
    PostResume {
        /// The root of the tree.
        pid: i32,
    },
}

impl Point {
    /// Returns the name of the point: that of CRIU where there is one.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PreDump { .. } => "pre-dump",
            Self::Frozen { .. } => "frozen",
            Self::Captured { .. } => "captured",
            Self::LetGo { .. } => "let-go",
            Self::Memory { .. } => "memory",
            Self::Pages { .. } => "pages",
            Self::PostDump { .. } => "post-dump",
            Self::Sent { .. } => "sent",
            Self::Written { .. } => "written",
            Self::Reaped { .. } => "reaped",
            Self::Planned { .. } => "planned",
            Self::PreRestore => "pre-restore",
            Self::Stages { .. } => "stages",
            Self::PreResume { .. } => "pre-resume",
            Self::PostResume { .. } => "post-resume",
        }
    }
}

/// The answer of an observer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The dump or restore is to proceed.
    Proceed,
    /// The dump or restore is to be abandoned, for this reason: the program of a dump continues as
    /// if nothing had been tried, and a restore leaves nothing behind. Where the point says that it
    /// is too late, the answer has no effect.
    Veto(String),
}

/// An observer of a dump or restore.
pub trait Observer {
    /// Takes note of a point when it is reached, and decides whether to go on. The program of a dump
    /// may be stopped meanwhile.
    fn at(&mut self, point: &Point) -> Reply;
}

impl dyn Observer + '_ {
    /// Reports a point from which the work can still be undone.
    ///
    /// # Errors
    ///
    /// [`Error::Vetoed`] if the observer wants it to be undone.
    pub fn ask(&mut self, point: &Point) -> Result<()> {
        match self.at(point) {
            Reply::Proceed => Ok(()),
            Reply::Veto(reason) => Err(Error::Vetoed {
                point: point.name(),
                reason,
            }),
        }
    }

    /// Reports a point at which it is too late for a veto.
    pub fn tell(&mut self, point: &Point) {
        let (Reply::Proceed | Reply::Veto(_)) = self.at(point);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Against;

    impl Observer for Against {
        fn at(&mut self, _: &Point) -> Reply {
            Reply::Veto("not now".into())
        }
    }

    #[test]
    fn a_veto_names_the_point_and_the_reason() {
        let observer: &mut dyn Observer = &mut Against;
        let error = observer.ask(&Point::PreDump { pid: 7 }).unwrap_err();
        assert_eq!(error.to_string(), "vetoed at pre-dump: not now");
    }

    #[test]
    fn what_has_happened_cannot_be_vetoed() {
        let observer: &mut dyn Observer = &mut Against;
        observer.tell(&Point::PostResume { pid: 7 });
    }
}
