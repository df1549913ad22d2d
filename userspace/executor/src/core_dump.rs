// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Zombies that have dumped core. Only a core dump sets that bit of an exit status
//! (kernel/signal.c:get_signal), so they dump core again: into a file system of their own that
//! vanishes with them.

use std::fs;

use crust_model::plan::Plan;
use crust_model::{Error, Result};
use crust_sys::{memory, mount};
use crust_tracee::batch::layout;
use crust_tracee::remote::Caller;
use nix::sys::resource::{Resource, getrlimit};

/// The core dump bit of a status as of `wait4`.
const DUMPED: i32 = 0x80;
/// The maximum size of the core dump; the kernel requires at least a page.
const SIZE: u64 = 1 << 20;

/// Returns whether a status says that core was dumped.
pub fn is_in(status: i32) -> bool {
    status & 0x7f != 0 && status & DUMPED != 0
}

/// Returns whether core can be dumped such that nobody sees it.
pub fn is_possible() -> bool {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let is_local = !pattern.trim().is_empty() && !pattern.contains(['|', '/', '@']);
    let may = getrlimit(Resource::RLIMIT_CORE).is_ok_and(|(_, hard)| hard >= SIZE);
    is_local && may && mount::tmpfs().is_ok()
}

/// Makes a task change to a directory where its core can be dumped.
pub(super) fn prepare(caller: &Caller, plan: &Plan) -> Result<()> {
    let at = plan.scratch.offset(layout::BATCHES);
    let limits = at.offset(16);
    let mut bytes = b"tmpfs\0".to_vec();
    bytes.resize(16, 0);
    bytes.extend([SIZE.to_ne_bytes(), SIZE.to_ne_bytes()].concat());
    memory::write(caller.tid, at, &bytes)
        .map_err(|errno| Error::task(caller.tid, "prepare a core dump", errno))?;
    let config = caller.call(
        "core dump: open a file system",
        libc::SYS_fsopen,
        &[at.0, 0],
    )?;
    let create = [config, u64::from(mount::CMD_CREATE), 0, 0, 0];
    caller.call("core dump: make it", libc::SYS_fsconfig, &create)?;
    let root = caller.call("core dump: mount it", libc::SYS_fsmount, &[config, 0, 0])?;
    caller.call("core dump: go there", libc::SYS_fchdir, &[root])?;
    let args = [u64::from(libc::RLIMIT_CORE), limits.0];
    caller.call("core dump: allow it", libc::SYS_setrlimit, &args)?;
    Ok(())
}
