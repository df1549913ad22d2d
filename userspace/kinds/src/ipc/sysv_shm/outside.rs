// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Programs outside of the tree that have a System V segment attached, so that a refusal can name
//! them.

use std::fs;

use crust_tracee::frozen_process::FrozenProcess;

/// Returns " (process 12 (postgres))" for a process outside of the tree that has the segment
/// attached, or an empty text if crust cannot see any.
pub(super) fn holder(id: i32, tree: &[FrozenProcess]) -> String {
    let is_of_tree = |pid| tree.iter().any(|process| process.pid == pid);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let holder = pids.find(|&pid| !is_of_tree(pid) && has_attached(pid, id));
    holder.map_or_else(String::new, |pid| format!(" ({})", crust_proc::named(pid)))
}

fn has_attached(pid: i32, id: i32) -> bool {
    let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    String::from_utf8_lossy(&maps)
        .lines()
        .any(|line| is_of_segment(line, id))
}

/// Returns whether a line of `proc_pid_maps(5)` is a mapping of the segment, whose id is shown as
/// the inode number.
fn is_of_segment(line: &str, id: i32) -> bool {
    let mut words = line.split_ascii_whitespace().skip(4);
    let inode = words.next().and_then(|word| word.parse().ok());
    inode == Some(id) && words.next().is_some_and(|path| path.starts_with("/SYSV"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let line = "7f00-7f10 rw-s 00000000 00:01 32770                  /SYSV00000000 (deleted)";
        assert!(is_of_segment(line, 32770));
        assert!(!is_of_segment(line, 32771));
        assert!(!is_of_segment("7f00-7f10 rw-p 00000000 00:00 0 ", 0));
        assert!(!is_of_segment(
            "7f00-7f10 r--p 00000000 08:01 32770 /bin/sh",
            32770
        ));
    }
}
