// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Programs outside of the tree that hold the other end of a pipe or socket, so that a refusal can
//! name them. `/proc` is searched for them, once, and only when there is something to refuse.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use crust_tracee::frozen_process::FrozenProcess;

/// A descriptor of a process outside of the tree.
struct Holder {
    pid: i32,
    fd: String,
}

/// The pipes and sockets of all processes outside of the tree, by their links (`pipe:[1234]`).
#[derive(Default)]
pub struct Outside(Option<HashMap<OsString, Vec<Holder>>>);

impl Outside {
    /// Returns ": process 12 (cat)" for a holder of the file with this link, or an empty text if
    /// crust cannot see any. `access` is the access mode of its descriptor, if that matters.
    pub fn holder(&mut self, link: &[u8], access: Option<i32>, tree: &[FrozenProcess]) -> String {
        let all = self.0.get_or_insert_with(|| search(tree));
        let link = OsString::from_vec(link.to_vec());
        let mut holders = all.get(&link).into_iter().flatten();
        let found = holders.find(|holder| match access {
            Some(access) => holder
                .access()
                .is_some_and(|own| own == access || own == libc::O_RDWR),
            None => true,
        });
        found.map_or_else(String::new, |holder| {
            format!(": {}", crust_proc::named(holder.pid))
        })
    }
}

impl Holder {
    /// Returns the access mode of the descriptor.
    fn access(&self) -> Option<i32> {
        let info = fs::read_to_string(format!("/proc/{}/fdinfo/{}", self.pid, self.fd)).ok()?;
        let info = crust_proc::Fields::new(info);
        let flags = i32::from_str_radix(info.get("flags")?, 8).ok()?;
        Some(flags & libc::O_ACCMODE)
    }
}

/// Returns the pipes and sockets of all processes but those of the tree and crust itself, which has
/// opened those of the tree.
fn search(tree: &[FrozenProcess]) -> HashMap<OsString, Vec<Holder>> {
    let is_of_tree = |pid| tree.iter().any(|process| process.pid == pid);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut all: HashMap<OsString, Vec<Holder>> = HashMap::new();
    let own = nix::unistd::getpid().as_raw();
    for pid in pids.filter(|&pid| pid != own && !is_of_tree(pid)) {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
        for entry in descriptors.into_iter().flatten().flatten() {
            let Ok(link) = fs::read_link(entry.path()) else {
                continue;
            };
            let link = link.into_os_string();
            let is_wanted = [&b"pipe:["[..], b"socket:["]
                .iter()
                .any(|start| link.as_encoded_bytes().starts_with(start));
            if is_wanted {
                let fd = entry.file_name().to_string_lossy().into_owned();
                all.entry(link).or_default().push(Holder { pid, fd });
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_has_our_pipe_is_named() {
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("1000")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let link = fs::read_link(format!("/proc/{}/fd/0", child.id())).unwrap();
        let link = link.into_os_string().into_vec();
        let mut outside = Outside::default();
        let named = outside.holder(&link, Some(libc::O_RDONLY), &[]);
        assert!(
            named.starts_with(&format!(": process {} (", child.id())),
            "{named}"
        );
        assert_eq!(outside.holder(&link, Some(libc::O_WRONLY), &[]), "");
        assert_eq!(outside.holder(b"pipe:[0]", None, &[]), "");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
