// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Reads `/proc/PID/task/TID/numa_maps`.

use std::fs::File;
use std::io::{BufRead, BufReader};

use crust_model::{Error, Result};
use crust_tracee::frozen_process::FrozenProcess;
use nix::errno::Errno;

use super::mode::Policy;

/// Reads `/proc/PID/numa_maps`; returns `None` if the kernel knows of no nodes.
///
/// # Errors
///
/// Returns [`Error::Gone`] if the process has died.
pub fn read(process: &FrozenProcess) -> Result<Option<String>> {
    match crust_proc::read_text(&process.proc, process.pid, "numa_maps") {
        Ok(text) => Ok(Some(text)),
        Err(Error::Task {
            errno: Errno::ENOENT,
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Splits a line of `numa_maps` into the address and what follows it.
fn parse_line(line: &str) -> Option<(u64, &str)> {
    let (address, rest) = line.split_once(' ')?;
    Some((u64::from_str_radix(address, 16).ok()?, rest))
}

/// Returns the address and the policy of each mapping in the text of `numa_maps`, or the line that is malformed.
pub(super) fn parse(text: &str) -> std::result::Result<Vec<(u64, Policy)>, &str> {
    text.lines()
        .map(|line| {
            let (address, rest) = parse_line(line).ok_or(line)?;
            Ok((address, Policy::parse(rest).ok_or(line)?))
        })
        .collect()
}

/// Returns the policy of a thread: what is shown for a mapping that has none of its own. `shown` is
/// what is shown for the leader, whose policy is `of_leader`.
pub(super) fn of_thread(
    process: &FrozenProcess,
    tid: i32,
    shown: &[(u64, Policy)],
    of_leader: &Policy,
) -> Result<Policy> {
    let name = format!("task/{tid}/numa_maps");
    let malformed = |line: &str| Error::malformed(format!("/proc/{tid}/numa_maps"), line);
    let file = File::from(crust_proc::open(&process.proc, process.pid, &name)?);
    // The kernel walks the pages of the mappings whose lines are read, and no others.
    let mut lines = BufReader::with_capacity(64, file);
    let mut bytes = Vec::new();
    for (address, policy) in shown {
        bytes.clear();
        lines.read_until(b'\n', &mut bytes).map_err(|error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
            Error::task(tid, format!("read {name}"), errno)
        })?;
        let line = String::from_utf8_lossy(&bytes);
        let own = parse_line(&line)
            .filter(|(there, _)| there == address)
            .and_then(|(_, rest)| Policy::parse(rest.trim_end()))
            .ok_or_else(|| malformed(&line))?;
        if policy == of_leader {
            return Ok(own);
        }
    }
    Err(malformed("all mappings have policies of their own"))
}
