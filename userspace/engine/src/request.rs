// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Requests of a caller, and the reports that answer them.
//!
//! ```text
//! dump    (&DumpRequest,    &mut dyn Observer) -> Result<DumpReport>
//! restore (&RestoreRequest, &mut dyn Observer) -> Result<RestoreReport>
//! plan    (&RestoreRequest)                    -> Result<PlanReport>
//! capture_only    (pid, &DumpOptions, Backend)         -> Result<Captured>
//! ```
//!
//! `dump` and `capture_only` (for `explain`) are in `dump.rs`, `restore` and `plan` in `restore.rs`.
//!
//! The reports are what `--json` prints: the names of their fields include the unit, and do not
//! change.

use std::path::PathBuf;

use crust_hooks::Backend;
use crust_kinds::capture::DumpOptions;
use crust_kinds::plan_context::RestoreOptions;
use crust_model::image::Image;
use crust_model::plan::Plan;
use crust_model::refusal::Refusal;
use serde::{Deserialize, Serialize};

/// The place of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file of this name.
    File(PathBuf),
    /// A stream: a dump writes it to the standard output, all others read it from the standard
    /// input.
    Stream,
}

impl Place {
    /// Returns the name in reports and options: `-` is the stream.
    #[must_use]
    pub fn name(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Stream => "-".into(),
        }
    }
}

/// A dump.
#[derive(Clone, Debug)]
pub struct DumpRequest {
    /// The root of the tree, in the pid namespace of the caller.
    pub pid: i32,
    /// The destination of the image; an existing file is replaced when the new one is complete.
    pub image: Place,
    /// The decisions of the user.
    pub options: DumpOptions,
    /// Whether the program is killed even though its image went into a stream, so that nobody knows
    /// whether it has arrived. Otherwise it is left stopped. A program whose image is in a file is
    /// killed anyway, unless the options keep it.
    pub kill: bool,
    /// The hooks to use.
    pub backend: Backend,
    /// Whether the image must be on disk before the program is killed.
    pub sync: bool,
}

/// The report of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpReport {
    /// The process id of the root of the tree.
    pub pid: i32,
    /// The name of the image.
    pub image: PathBuf,
    /// The length of the image in bytes.
    pub image_bytes: u64,
    /// The number of bytes that are contents of memory.
    pub page_bytes: u64,
    /// The number of processes, zombies included.
    pub processes: u64,
    /// The number of threads of all processes.
    pub threads: u64,
    /// The number of records in the image.
    pub objects: u64,
    /// The time from stopping the first thread until the program continued (`--leave-running`), or
    /// was killed.
    pub frozen_ns: u64,
    /// The time from the call to the return.
    pub total_ns: u64,
    /// Whether the program still exists (`--leave-running`, `--leave-stopped`, an image in a
    /// stream).
    pub left_alive: bool,
    /// The processes, if they were left stopped, children before their parents. That is the order
    /// in which to kill them, so that none runs for a moment after its parent is gone.
    pub left_stopped: Vec<i32>,
    /// Those of them that ran before: `SIGCONT` continues these, whereas the others were stopped
    /// already.
    pub to_continue: Vec<i32>,
    /// The losses: what the image does not carry, none of it grave.
    pub losses: Vec<Refusal>,
}

/// The result of capturing without a dump (`explain`): the tree was stopped for a moment and
/// continues, and nothing was written. Refusals are not errors here.
#[derive(Default)]
pub struct Captured {
    /// The processes by pid, the root first, zombies included.
    pub pids: Vec<i32>,
    /// The number of threads of all processes.
    pub threads: u64,
    /// Whether the module was asked.
    pub module: bool,
    /// The captured objects.
    pub image: Image,
    /// What cannot be carried over, what must be decided, and what would be lost.
    pub refusals: Vec<Refusal>,
    /// How long the tree was stopped.
    pub frozen_ns: u64,
}

/// A restore.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// The image.
    pub image: Place,
    /// The decisions of the user.
    pub options: RestoreOptions,
    /// The hooks to use.
    pub backend: Backend,
    /// A file for the pid of the root, in decimal with a newline, written before the program runs.
    pub pidfile: Option<PathBuf>,
}

/// The report of a restore. The root is a child of the caller, which must wait for it or exit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreReport {
    /// The process id of the root of the tree, in the pid namespace of the caller.
    pub pid: i32,
    /// The process group of the job to which the terminal was given (`--shell-job`).
    pub foreground: Option<i32>,
    /// The name of the image.
    pub image: PathBuf,
    /// The number of processes, zombies included.
    pub processes: u64,
    /// The number of threads of all processes.
    pub threads: u64,
    /// The number of steps in the plan.
    pub steps: u64,
    /// The time from the call to the return, when the program runs.
    pub total_ns: u64,
    /// The losses: what was not restored, none of it grave.
    pub losses: Vec<Refusal>,
}

/// What a restore would do (`restore --plan`); nothing was created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanReport {
    /// The conflicts with the current state of this machine, and what would be lost.
    pub conflicts: Vec<Refusal>,
    /// The steps.
    pub plan: Plan,
}
