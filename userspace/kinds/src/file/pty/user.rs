// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The program that uses a terminal, so that a conflict can name it.

use std::fs;

use crust_proc::Stat;

/// Returns a process whose controlling terminal is the pseudo-terminal with this number, as
/// `process 12 (bash)`; `None` if crust cannot see any.
pub(super) fn user(index: u32) -> Option<String> {
    let user = crust_proc::pids().find(|pid| {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok();
        let stat = stat.and_then(|text| Stat::parse(&text));
        stat.is_some_and(|stat| is_terminal(stat.field(7), index))
    })?;
    Some(crust_proc::named(user))
}

/// Returns whether `tty_nr` of `proc_pid_stat(5)` is the pseudo-terminal with this number. The
/// kernel gives each of the major numbers 136 to 143 to 2^20 of them, and uses the first only.
fn is_terminal(tty: u64, index: u32) -> bool {
    const MAJOR: u64 = 136;
    let index = u64::from(index);
    // include/linux/kdev_t.h:new_encode_dev.
    tty == index & 0xff | MAJOR << 8 | (index & !0xff) << 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_proc_has_them() {
        assert!(is_terminal(34816, 0));
        assert!(is_terminal(34819, 3));
        assert!(is_terminal(0x10_8801, 257));
        assert!(!is_terminal(0, 0));
    }
}
