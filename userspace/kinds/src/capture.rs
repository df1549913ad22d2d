// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The context of a capture: what it works with, and what it gathers.

use crust_hooks::Hooks;
use crust_model::image::Image;
use crust_model::refusal::Refusals;
use crust_tracee::frozen_process::FrozenProcess;
use crust_tracee::texts::Texts;

use crate::contents::PageJob;
use crate::notes::Notes;

/// The options of a dump.
#[derive(Clone, Debug, Default)]
pub struct DumpOptions {
    /// `--shell-job`: the terminal, session and group of the caller's shell belong to the job, and
    /// those of the restoring shell replace them.
    pub shell_job: bool,
    /// `--leave-running`.
    pub leave_running: bool,
    /// `--leave-stopped`.
    pub leave_stopped: bool,
    /// `--checksum`: memory contents are checksummed too.
    pub checksum: bool,
    /// `--ghost-limit`: the number of bytes of a deleted file that the image may hold, if not the default.
    pub ghost_limit: Option<u64>,
    /// `--lossy`: queued data that cannot be copied (inotify events) is dropped.
    pub lossy: bool,
}

/// A capture in progress: its inputs, and what has been found so far.
pub struct Capture<'a> {
    /// The interface through which the kernel is queried.
    pub hooks: &'a dyn Hooks,
    /// The options of the dump.
    pub options: &'a DumpOptions,
    /// The whole frozen tree; [`FrozenProcess::id`] is the index.
    pub tree: &'a [FrozenProcess],
    /// What `/proc` says of each process.
    pub texts: &'a [Texts],
    /// The objects captured so far.
    pub image: Image,
    /// The files whose contents are to be copied.
    pub jobs: Vec<PageJob>,
    /// What cannot be captured.
    pub refusals: Refusals,
    /// Notes that kinds keep for themselves.
    pub notes: Notes,
}

/// What a capture has found.
pub struct Captured {
    /// All objects but the contents of memory.
    pub image: Image,
    /// The files whose contents are to be copied.
    pub jobs: Vec<PageJob>,
    /// What cannot be carried over.
    pub refusals: Refusals,
}
