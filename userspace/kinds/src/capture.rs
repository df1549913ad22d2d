// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a capture works with, and what it gathers.

use crust_hooks::Hooks;
use crust_image::Record;
use crust_model::refusal::Refusals;
use crust_tracee::frozen_process::FrozenProcess;

use crate::notes::Notes;

/// What the user decided about a dump.
#[derive(Clone, Debug, Default)]
pub struct DumpOptions {
    /// `--shell-job`: the terminal, session and group of the caller's shell belong to the job, and
    /// those of the restoring shell replace them.
    pub shell_job: bool,
    /// `--leave-running`.
    pub leave_running: bool,
    /// `--leave-stopped`.
    pub leave_stopped: bool,
    /// `--checksum`: contents of memory are summed up too.
    pub checksum: bool,
    /// `--ghost-limit`: bytes of a deleted file that the image may hold, if not the usual number.
    pub ghost_limit: Option<u64>,
    /// `--lossy`: what waits to be read and cannot be copied (events of inotify) is dropped.
    pub lossy: bool,
}

/// A capture under way: what may be read, and what has been found.
pub struct Capture<'a> {
    /// What the kernel can be asked.
    pub hooks: &'a dyn Hooks,
    /// The user's decisions.
    pub options: &'a DumpOptions,
    /// The whole frozen tree; [`FrozenProcess::id`] is the index.
    pub tree: &'a [FrozenProcess],
    /// What was captured.
    pub records: Vec<Record>,
    /// What cannot be.
    pub refusals: Refusals,
    /// What the kinds note for themselves.
    pub notes: Notes,
}
