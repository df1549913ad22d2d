// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Outsiders: processes that a program is allowed to inspect, unless it is in a Landlock domain.
//!
//! No interface shows whether a task is in a domain. But a task in a domain may not inspect
//! processes outside of it (security/landlock/task.c:hook_ptrace_access_check), whatever its
//! privileges; and a process that has the ids of the program and no privileges can be inspected by
//! any other process with these ids. For a program that may inspect any process, crust itself is
//! such an outsider.
//!
//! Programs that have neither that privilege nor `no_new_privs`, which a program sets to sandbox
//! itself, are not asked.

use std::collections::HashMap;

use crust_model::{Error, Result};
use crust_proc::Fields;
use crust_sys::probe;
use crust_sys::process::{Birth, SeedProcess};
use crust_tracee::frozen_process::FrozenProcess;
use crust_tracee::privileges::capability;
use crust_tracee::remote::Caller;
use crust_tracee::{security_labels, spawn};

/// The outsiders, one for each pair of user and group encountered.
#[derive(Debug, Default)]
pub struct Outsiders {
    /// Whether this kernel supports domains at all, once that is known.
    needed: Option<bool>,
    all: HashMap<(u32, u32), Outsider>,
}

/// A child of crust that does nothing. Dropping it kills it.
#[derive(Debug)]
struct Outsider(i32);

impl Outsiders {
    /// Returns a process that `process`, with this `status`, may inspect if it is in no domain;
    /// `None` if that cannot be told.
    ///
    /// # Errors
    ///
    /// Fails if the status is incomplete, or the outsider cannot be started.
    pub fn to(&mut self, process: &FrozenProcess, status: &Fields) -> Result<Option<i32>> {
        if !*self.needed.get_or_insert_with(probe::landlock) {
            return Ok(None);
        }
        let first = |field| {
            status
                .numbers(field)
                .and_then(|ids| ids.first().copied())
                .ok_or_else(|| {
                    Error::malformed(
                        format!("/proc/{}/status", process.pid),
                        format!("has no `{field}`"),
                    )
                })
        };
        // In another pid namespace, crust would have another process id; and other security modules
        // also forbid access.
        let namespace = crust_proc::link(&process.proc, process.pid, "ns/pid")?;
        if std::fs::read_link("/proc/self/ns/pid").ok() != Some(namespace)
            || !security_labels::are_ours(&process.proc, process.pid)
        {
            return Ok(None);
        }
        if status.hex("CapPrm").unwrap_or(0) & capability::SYS_PTRACE != 0
            && status.hex("CapEff").unwrap_or(0) & capability::SYS_PTRACE != 0
        {
            return Ok(Some(nix::unistd::getpid().as_raw()));
        }
        let ids = (first("Uid")?, first("Gid")?);
        if ids.0 == 0 || status.number("NoNewPrivs") != Some(1) {
            return Ok(None);
        }
        let outsider = match self.all.entry(ids) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(Outsider::new(ids)?),
        };
        Ok(Some(outsider.0))
    }
}

impl Outsider {
    fn new((uid, gid): (u32, u32)) -> Result<Self> {
        let failed = |errno| Error::system("start a process to be looked at", errno);
        let birth = Birth {
            pid: &[],
            descriptors: &[],
        };
        let pid = SeedProcess::new()
            .and_then(|blank| blank.start(birth))
            .map_err(failed)?;
        let outsider = Self(pid);
        outsider.become_one(&spawn::take(pid)?, uid.into(), gid.into())?;
        Ok(outsider)
    }

    /// Changes the credentials: all privileges are lost with the user id of root.
    fn become_one(&self, caller: &Caller, uid: u64, gid: u64) -> Result<()> {
        const WHAT: &str = "become a process to be looked at";
        caller.call(WHAT, libc::SYS_setresgid, &[gid, gid, gid])?;
        caller.call(WHAT, libc::SYS_setresuid, &[uid, uid, uid])?;
        caller.call(WHAT, libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as u64, 1])?;
        Ok(())
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        spawn::end(self.0);
    }
}
