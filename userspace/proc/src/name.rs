// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Names of processes and threads, for texts that users read.

use std::fs;

use crust_model::words::printable;

/// Returns the name of a process or thread (`/proc/PID/comm`), without control characters; `None`
/// if there is no such task.
#[must_use]
pub fn comm(task: i32) -> Option<String> {
    let name = fs::read(format!("/proc/{task}/comm")).ok()?;
    Some(printable(String::from_utf8_lossy(&name).trim_end()))
}

/// Returns a process as users know it: `process 12 (bash)`. A process that is gone, or hidden from
/// crust, has no name.
#[must_use]
pub fn named(pid: i32) -> String {
    match comm(pid) {
        Some(name) => format!("process {pid} ({name})"),
        None => format!("process {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_name() {
        let own = std::process::id() as i32;
        let name = comm(own).unwrap();
        assert_eq!(named(own), format!("process {own} ({name})"));
        assert_eq!(named(i32::MAX), format!("process {}", i32::MAX));
    }
}
