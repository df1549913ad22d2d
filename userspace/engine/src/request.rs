// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a caller asks for, and what it is told afterwards.
//!
//! ```text
//! dump    (&DumpRequest,    &mut dyn Progress) -> Result<DumpReport>
//! restore (&RestoreRequest, &mut dyn Progress) -> Result<RestoreReport>
//! plan    (&RestoreRequest)                    -> Result<PlanReport>
//! capture_only    (pid, &DumpOptions, Backend)         -> Result<Captured>
//! ```
//!
//! `dump` and `capture_only` (for `explain`) are in `dump.rs`, `restore` and `plan` in `restore.rs`.
//!
//! The reports are what `--json` prints: their fields are named with their units, and stay.

use std::path::PathBuf;

use crust_hooks::Backend;
use crust_image::Record;
use crust_kinds::capture::DumpOptions;
use crust_kinds::plan_context::RestoreOptions;
use crust_model::plan::Plan;
use crust_model::refusal::Refusal;
use serde::{Deserialize, Serialize};

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file of this name.
    File(PathBuf),
    /// In a stream: a dump writes it to the standard output, all others read it from the standard input.
    Stream,
}

impl Place {
    /// What reports and options call it: `-` is the stream.
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
    /// Where the image goes; a file that exists is replaced when the new one is complete.
    pub image: Place,
    /// What the user decided.
    pub options: DumpOptions,
    /// Whether the program ends though its image went into a stream, of which nobody knows whether it has arrived.
    /// Else it is left stopped. That of an image in a file ends anyway, unless the options keep it.
    pub kill: bool,
    /// Which hooks.
    pub backend: Backend,
    /// Whether the image must be on the disk before the program is killed.
    pub sync: bool,
}

/// What a dump did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpReport {
    /// The root of the tree.
    pub pid: i32,
    /// The image.
    pub image: PathBuf,
    /// Its length in bytes.
    pub image_bytes: u64,
    /// Bytes of it that are contents of memory.
    pub page_bytes: u64,
    /// Processes, zombies included.
    pub processes: u64,
    /// Threads of all processes.
    pub threads: u64,
    /// Records in the image.
    pub objects: u64,
    /// From the first thread that was stopped to the moment when the program went on
    /// (`--leave-running`), or when it was killed.
    pub frozen_ns: u64,
    /// From the call to the return.
    pub total_ns: u64,
    /// Whether the program is still there (`--leave-running`, `--leave-stopped`, an image in a stream).
    pub left_alive: bool,
    /// If it was left stopped: its processes, children before their parents, which is the order in which to end
    /// them, so that none runs for a moment when its parent has gone.
    pub left_stopped: Vec<i32>,
    /// Those of them that ran before: `SIGCONT` lets these go on, and the others were stopped already.
    pub to_continue: Vec<i32>,
    /// What the image does not carry, each of little weight.
    pub losses: Vec<Refusal>,
}

/// What a dump would save (`explain`): the tree was stopped for a moment and goes on, and nothing was
/// written. Refusals are no error here.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    /// The processes by pid, the root first, zombies included.
    pub pids: Vec<i32>,
    /// Threads of all processes.
    pub threads: u64,
    /// Whether the module was asked.
    pub module: bool,
    /// What was captured.
    pub records: Vec<Record>,
    /// What cannot be, what must be decided, and what would be lost.
    pub refusals: Vec<Refusal>,
    /// How long the tree was stopped.
    pub frozen_ns: u64,
}

/// A restore.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// The image.
    pub image: Place,
    /// What the user decided.
    pub options: RestoreOptions,
    /// Which hooks.
    pub backend: Backend,
    /// Gets the pid of the root, in decimal and with a line end, before the program runs.
    pub pidfile: Option<PathBuf>,
}

/// What a restore did. The root is a child of the caller, who must wait for it or end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreReport {
    /// The root of the tree, in the pid namespace of the caller.
    pub pid: i32,
    /// The group of the job to which the terminal was given (`--shell-job`).
    pub foreground: Option<i32>,
    /// The image.
    pub image: PathBuf,
    /// Processes, zombies included.
    pub processes: u64,
    /// Threads of all processes.
    pub threads: u64,
    /// Steps of the plan.
    pub steps: u64,
    /// From the call to the return, when the program runs.
    pub total_ns: u64,
    /// What did not come back, each of little weight.
    pub losses: Vec<Refusal>,
}

/// What a restore would do (`restore --plan`); nothing was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanReport {
    /// What stands in the way on this machine now, with what would be lost.
    pub conflicts: Vec<Refusal>,
    /// The steps.
    pub plan: Plan,
}
