// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's console of a finished boot, and whether the kernel complained on it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Any of these means that something is wrong in the kernel, whatever the tests said.
const COMPLAINTS: &[&str] = &[
    "Oops",
    "BUG:",
    "WARNING:",
    "possible circular locking",
    "possible recursive locking",
    "inconsistent lock state",
    "suspicious RCU",
    "sleeping function called from invalid context",
    "KASAN",
    "Kernel panic",
    "rcu_preempt detected stalls",
    "RCU stall",
    "self-detected stall",
    "soft lockup",
    "hard LOCKUP",
    "refcount_t:",
    "list_add corruption",
    "list_del corruption",
];

/// The lines on which the kernel complains, in order.
pub fn complaints(console: &str) -> Vec<&str> {
    let hung = |line: &str| line.contains("INFO: task ") && line.contains(" blocked");
    console
        .lines()
        .filter(|line| COMPLAINTS.iter().any(|text| line.contains(text)) || hung(line))
        .collect()
}

/// The console as text; a guest that died early may leave bytes that are not.
pub fn read(path: &Path) -> Result<String> {
    let bytes =
        fs::read(path).with_context(|| format!("reading the console {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::complaints;

    #[test]
    fn finds_what_a_kernel_says_when_it_is_broken() {
        for line in [
            "[    1.2] Oops: general protection fault, probably for non-canonical address",
            "[    1.2] BUG: unable to handle page fault for address: ffffc90000000000",
            "[    1.2] WARNING: CPU: 0 PID: 7 at kernel/pid.c:100 pid_renumber+0x10/0x20",
            "[    1.2] INFO: task crust:7 blocked for more than 120 seconds.",
            "[    1.2] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
        ] {
            assert_eq!(complaints(line), [line]);
        }
    }

    #[test]
    fn keeps_silent_about_a_healthy_boot() {
        let of_a_program =
            "[ 9.1] traps: a.out[7] general protection fault ip:7f00 sp:7ffc error:0";
        assert!(complaints(of_a_program).is_empty());
        assert!(
            complaints("[    0.0] Linux version 7.3.4\n[    0.5] INFO: task scheduler ready\n")
                .is_empty()
        );
    }
}
