// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The privileges and restrictions of crust itself, which programs that it creates inherit.

use crust_proc::Fields;
use crust_sys::ptrace::{self, option};
use nix::errno::Errno;

/// Bits of sets of capabilities (`capabilities(7)`, `include/uapi/linux/capability.h`).
pub mod capability {
    use linux_raw_sys::general as raw;

    /// `CAP_SYS_PTRACE`.
    pub const SYS_PTRACE: u64 = 1 << raw::CAP_SYS_PTRACE;
    /// `CAP_SYS_ADMIN`.
    pub(super) const SYS_ADMIN: u64 = 1 << raw::CAP_SYS_ADMIN;
    /// `CAP_SYS_NICE`.
    pub const SYS_NICE: u64 = 1 << raw::CAP_SYS_NICE;
    /// `CAP_SYS_RESOURCE`.
    pub const SYS_RESOURCE: u64 = 1 << raw::CAP_SYS_RESOURCE;
    /// The capabilities that are needed to inspect programs of any user, and to give them back
    /// their credentials.
    pub const REQUIRED: u64 = 1 << raw::CAP_DAC_OVERRIDE
        | 1 << raw::CAP_KILL
        | 1 << raw::CAP_SETGID
        | 1 << raw::CAP_SETUID
        | 1 << raw::CAP_SETPCAP
        | SYS_PTRACE
        | SYS_ADMIN;
}

/// Returns the names of the capabilities in a set, without their `CAP_` prefix.
#[must_use]
pub fn names(set: u64) -> String {
    const NAMES: [&str; 41] = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ];
    let words: Vec<String> = (0..64)
        .filter(|n| set & 1 << n != 0)
        .map(|n| NAMES.get(n).map_or(n.to_string(), |name| (*name).into()))
        .collect();
    words.join(", ")
}

/// The privileges of crust according to `/proc/self/status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    /// Effective capabilities.
    pub effective: u64,
    /// The capability bounding set.
    pub bounding: u64,
    /// Whether seccomp filters are in force.
    pub is_filtered: bool,
    /// Whether the kernel supports seccomp filters.
    pub knows_filters: bool,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
}

impl Privileges {
    /// Returns the privileges of the caller.
    #[must_use]
    pub fn own() -> Self {
        let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self::of(&Fields::new(text))
    }

    fn of(status: &Fields) -> Self {
        let seccomp = status.number("Seccomp");
        Self {
            effective: status.hex("CapEff").unwrap_or(0),
            bounding: status.hex("CapBnd").unwrap_or(0),
            is_filtered: seccomp.is_some_and(|mode| mode != 0),
            knows_filters: seccomp.is_some(),
            no_new_privs: status.number("NoNewPrivs") == Some(1),
        }
    }

    /// Returns whether the seccomp filters of tracees can be suspended.
    #[must_use]
    pub fn can_suspend_filters(&self) -> bool {
        self.knows_filters && !self.is_filtered && self.effective & capability::SYS_ADMIN != 0
    }
}

/// Begins to trace a task, and suspends its seccomp filters if that is allowed. Returns the options
/// in effect.
///
/// # Errors
///
/// The errors of [`ptrace::seize`].
pub fn seize(tid: i32, options: i32) -> nix::Result<i32> {
    let suspended = options | option::SUSPEND_SECCOMP;
    match ptrace::seize(tid, suspended) {
        Ok(()) => Ok(suspended),
        // Without CAP_SYS_ADMIN, or under a filter of our own; or the kernel has no filters.
        Err(Errno::EPERM | Errno::EINVAL | Errno::EIO) => {
            ptrace::seize(tid, options).map(|()| options)
        }
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_rest_only_for_those_who_have_none() {
        let privileges = |seccomp: &str, effective: &str| {
            let text = format!("CapEff:\t{effective}\nCapBnd:\t3\nNoNewPrivs:\t1\n{seccomp}");
            Privileges::of(&Fields::new(text))
        };
        let all = privileges("Seccomp:\t0\n", "000001ffffffffff");
        assert!(all.can_suspend_filters() && all.no_new_privs && all.bounding == 3);
        assert_eq!(
            names(1 | capability::REQUIRED & 1 << 40 | 1 << 40),
            "CHOWN, CHECKPOINT_RESTORE"
        );
        for (seccomp, effective) in [
            ("Seccomp:\t2\n", "000001ffffffffff"),
            ("Seccomp:\t0\n", "0000000000000100"),
            ("", "000001ffffffffff"),
        ] {
            assert!(!privileges(seccomp, effective).can_suspend_filters());
        }
    }
}
