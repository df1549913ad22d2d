// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Why the kernel does not permit crust to trace a task, and who may (`ptrace(2)`, "Ptrace access
//! mode checking").

use std::fs;

use crust_proc::Fields;
use nix::unistd::geteuid;

use crate::privileges::{Privileges, capability};

/// What the kernel decides by.
#[derive(Clone, Copy, Debug, Default)]
struct Access {
    /// Whether crust has `CAP_SYS_PTRACE`.
    is_capable: bool,
    /// The effective user of crust.
    own: u32,
    /// The real user of the task.
    theirs: u32,
    /// The scope of Yama, which restricts who may trace (0 without it).
    yama: u32,
}

/// Returns why a task with this `status` may not be traced, and the remedy.
pub(crate) fn explain(status: &Fields) -> (String, &'static str) {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let users = status.numbers("Uid").unwrap_or_default();
    let access = Access {
        is_capable: Privileges::own().effective & capability::SYS_PTRACE != 0,
        own: geteuid().as_raw(),
        theirs: users.first().copied().unwrap_or_default(),
        yama: scope.trim().parse().unwrap_or(0),
    };
    let (reason, remedy) = access.explain();
    let why = format!("crust is not permitted to trace it (PTRACE_SEIZE: EPERM): {reason}");
    (why, remedy)
}

impl Access {
    fn explain(self) -> (String, &'static str) {
        const AS_ROOT: &str = "run crust as root";
        if self.yama >= 3 {
            return (
                "kernel.yama.ptrace_scope is 3, which forbids all tracing".into(),
                "boot with a lower kernel.yama.ptrace_scope; it cannot be lowered on a running system",
            );
        }
        if self.is_capable {
            return (
                "a security module forbids it, or the process is in a user namespace above that of crust".into(),
                "run crust as root of the machine, outside of containers; the kernel's log tells what a security \
                 module denies",
            );
        }
        let Self { own, theirs, .. } = self;
        if own != theirs {
            return (
                format!("it belongs to user {theirs}, and crust runs as user {own}"),
                AS_ROOT,
            );
        }
        match self.yama {
            0 => (
                "its program has more privileges than its user, or forbids it (PR_SET_DUMPABLE)"
                    .into(),
                AS_ROOT,
            ),
            scope => (
                format!(
                    "kernel.yama.ptrace_scope is {scope}, with which only root may trace other programs"
                ),
                AS_ROOT,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_apart() {
        let reason = |access: Access| access.explain().0;
        let other = Access {
            own: 1000,
            ..Access::default()
        };
        assert!(reason(other).contains("belongs to user 0, and crust runs as user 1000"));
        let capable = Access {
            is_capable: true,
            ..other
        };
        assert!(reason(capable).contains("security module"));
        let yama = |yama| Access {
            yama,
            ..Access::default()
        };
        assert!(reason(yama(0)).contains("PR_SET_DUMPABLE"));
        assert!(reason(yama(1)).contains("ptrace_scope is 1"));
        assert!(reason(yama(3)).contains("forbids all"));
    }
}
