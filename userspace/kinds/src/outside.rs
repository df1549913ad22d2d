// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Programs outside of the tree that have the other side of what is refused: the other end of a
//! pipe or socket, a System V segment. `/proc` is searched for all of them at once, when the tree
//! runs again, so that the search takes none of its time.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
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
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    // crust itself has opened what the tree has.
    let is_inside = |pid: &i32| tree.contains(pid) || u32::try_from(*pid) == Ok(process::id());
    for pid in pids.filter(|pid| !is_inside(pid)) {
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
    let is_open = |one: &Counterpart| matches!(one, Counterpart::Open { .. });
    let missing = |wanted: &dyn Fn(&Counterpart) -> bool| {
        found.iter().any(|(one, pid)| pid.is_none() && wanted(one))
    };
    let (open, attached) = (missing(&is_open), missing(&|one| !is_open(one)));
    let mut note = |one: Counterpart| {
        if let Some(place @ None) = found.get_mut(&one) {
            *place = Some(pid);
        }
    };
    if open {
        let entries = fs::read_dir(format!("/proc/{pid}/fd"));
        for entry in entries.into_iter().flatten().flatten() {
            let Some(link) = fs::read_link(entry.path()).ok() else {
                continue;
            };
            let Some(link) = link.to_str().filter(|link| is_pipe_or_socket(link)) else {
                continue;
            };
            let open = |access| Counterpart::Open {
                link: link.to_owned(),
                access,
            };
            note(open(None));
            match access(pid, &entry.file_name()) {
                Some(libc::O_RDWR) => {
                    note(open(Some(libc::O_RDONLY)));
                    note(open(Some(libc::O_WRONLY)));
                }
                own => note(open(own)),
            }
        }
    }
    if attached {
        let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
        let lines = maps.split(|byte| *byte == b'\n');
        lines
            .filter_map(segment)
            .map(Counterpart::Segment)
            .for_each(note);
    }
}

fn is_pipe_or_socket(link: &str) -> bool {
    ["pipe:[", "socket:["]
        .iter()
        .any(|start| link.starts_with(start))
}

/// Returns the access mode of a descriptor.
fn access(pid: i32, fd: &OsStr) -> Option<i32> {
    let fd = String::from_utf8_lossy(fd.as_bytes());
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let info = crust_proc::Fields::new(info);
    let flags = i32::from_str_radix(info.get("flags")?, 8).ok()?;
    Some(flags & libc::O_ACCMODE)
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
