// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a capture works with, and what it gathers.

use std::cell::OnceCell;

use crust_hooks::Hooks;
use crust_image::Record;
use crust_model::refusal::Refusals;
use crust_tracee::frozen_process::FrozenProcess;

use crate::file::uring::rings::MappedRing;
use crate::ipc::sysv_shm::FoundSegments;
use crate::memory::build_id::BuildIds;
use crate::pathless::UnnamedFiles;
use crate::task::posix_timers::TimerList;

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
    /// The timers of the kernel, if somebody has asked for them.
    pub timer_list: OnceCell<Option<TimerList>>,
    /// The files without a path, found by mappings, programs and descriptors.
    pub unnamed: UnnamedFiles,
    /// The System V segments that are attached.
    pub segments: FoundSegments,
    /// The mappings of io_urings.
    pub rings: Vec<MappedRing>,
    /// The build ids of programs and libraries.
    pub build_ids: BuildIds,
}
