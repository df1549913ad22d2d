// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Programs outside of the tree that have the other side of what is refused: the other end of a
//! pipe or socket, a System V segment. `/proc` is searched for all of them at once, when the tree
//! runs again, so that the search takes none of its time.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::{fs, process};

use crust_model::refusal::{Counterpart, Refusal};

/// Names the programs in the refusals whose other side a program outside of the tree has. Those
/// that crust cannot find stay without a name.
pub fn name(refusals: &mut [Refusal], tree: &[i32]) {
    let mut found: HashMap<Counterpart, Option<i32>> = refusals
        .iter()
        .filter_map(|refusal| Some((refusal.counterpart.clone()?, None)))
        .collect();
    if found.is_empty() {
        return;
    }
    // crust itself has opened what the tree has.
    let is_inside = |pid: &i32| tree.contains(pid) || u32::try_from(*pid) == Ok(process::id());
    for pid in crust_proc::pids().filter(|pid| !is_inside(pid)) {
        look(pid, &mut found);
    }
    for refusal in refusals {
        let pid = refusal.counterpart.as_ref().and_then(|one| found[one]);
        if let Some(pid) = pid {
            refusal.why.push_str(": ");
            refusal.why.push_str(&crust_proc::named(pid));
        }
    }
}

/// Notes what a process has of all that is wanted.
fn look(pid: i32, found: &mut HashMap<Counterpart, Option<i32>>) {
    let missing = found.iter().filter(|(_, holder)| holder.is_none());
    let (open, attached): (Vec<Counterpart>, Vec<Counterpart>) = missing
        .map(|(one, _)| one.clone())
        .partition(|one| matches!(one, Counterpart::Open { .. }));
    if !open.is_empty() {
        let entries = fs::read_dir(format!("/proc/{pid}/fd"));
        for entry in entries.into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else {
                continue;
            };
            let is_it = |one: &&Counterpart| match one {
                Counterpart::Open { link, access } => {
                    target.as_os_str() == link.as_str()
                        && access.is_none_or(|wanted| has_access(pid, &entry.file_name(), wanted))
                }
                Counterpart::Segment(_) => false,
            };
            for one in open.iter().filter(is_it) {
                found.insert(one.clone(), Some(pid));
            }
        }
    }
    if !attached.is_empty() {
        let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
        let lines = maps.split(|byte| *byte == b'\n');
        for one in lines.filter_map(segment).map(Counterpart::Segment) {
            if attached.contains(&one) {
                found.insert(one, Some(pid));
            }
        }
    }
}

/// Returns whether a descriptor allows what a descriptor with the access mode `wanted` does.
fn has_access(pid: i32, fd: &OsStr, wanted: i32) -> bool {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", fd.to_string_lossy()));
    let info = crust_proc::Fields::new(info.unwrap_or_default());
    let flags = info.get("flags");
    let flags = flags.and_then(|flags| i32::from_str_radix(flags, 8).ok());
    flags.is_some_and(|flags| [wanted, libc::O_RDWR].contains(&(flags & libc::O_ACCMODE)))
}

/// Returns the segment whose mapping a line of `proc_pid_maps(5)` is; its id is shown as the inode number.
fn segment(line: &[u8]) -> Option<i32> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace().skip(4);
    let id = words.next()?.parse().ok()?;
    words.next()?.starts_with("/SYSV").then_some(id)
}

#[cfg(test)]
mod tests {
    use crust_model::refusal::Refusals;

    use super::*;

    #[test]
    fn a_child_that_has_our_pipe_is_named() {
        let mut child = process::Command::new("/bin/sleep")
            .arg("1000")
            .stdin(process::Stdio::piped())
            .spawn()
            .unwrap();
        let link = fs::read_link(format!("/proc/{}/fd/0", child.id())).unwrap();
        let mut refusals = Refusals::default();
        for (link, access) in [
            (link.to_str().unwrap(), Some(libc::O_RDONLY)),
            (link.to_str().unwrap(), Some(libc::O_WRONLY)),
            ("pipe:[0]", None),
        ] {
            refusals.block(1, "pipe-outside", "fd 3", "a pipe", "remedy");
            refusals.held_by(Counterpart::Open {
                link: link.into(),
                access,
            });
        }
        let mut refusals = refusals.into_vec();
        name(&mut refusals, &[]);
        let named = format!("a pipe: process {} (", child.id());
        assert!(refusals[0].why.starts_with(&named), "{}", refusals[0].why);
        assert_eq!(refusals[1].why, "a pipe");
        assert_eq!(refusals[2].why, "a pipe");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn lines_of_maps() {
        let line = "7f00-7f10 rw-s 00000000 00:01 32770                  /SYSV00000000 (deleted)";
        assert_eq!(segment(line.as_bytes()), Some(32770));
        assert_eq!(segment(b"7f00-7f10 rw-p 00000000 00:00 0 "), None);
        assert_eq!(
            segment(b"7f00-7f10 r--p 00000000 08:01 32770 /bin/sh"),
            None
        );
    }
}
