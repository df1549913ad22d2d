// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `explain`: what of a running program can be carried over, what must be decided, and what
//! cannot, with reasons and remedies. Writes nothing, and stops the program for a moment only.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;

use crust_sys::device::Device;
use crust_sys::pidfd;
use nix::errno::Errno;
use serde::Serialize;

use crate::capture::DumpOptions;
use crate::kinds::{Family, Kinds};
use crate::refusal::{Refusal, Weight};
use crate::request::Backend;
use crate::socket::SocketView;
use crate::{Result, dump};

/// Whether a dump would be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It would.
    Yes,
    /// It would, with options that say what is wanted.
    Decide,
    /// It would be refused.
    No,
}

/// What was found of a program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The root of the tree.
    pub pid: i32,
    /// Its name (`/proc/PID/comm`).
    pub name: String,
    /// Whether a dump would be done.
    pub verdict: Verdict,
    /// The processes, the root first.
    pub pids: Vec<i32>,
    /// Threads of all processes.
    pub threads: u64,
    /// How long the program was stopped for this.
    pub frozen_ns: u64,
    /// Whether the module was asked.
    pub module: bool,
    /// What is carried over.
    pub carried: Vec<Carried>,
    /// What must be decided, what cannot be carried over, and what would be lost.
    pub refusals: Vec<Refusal>,
    /// The sockets, as the module reads them; empty without it.
    pub sockets: Vec<SocketView>,
    /// Sockets that there are, whether they could be read or not.
    pub sockets_found: u64,
}

/// An object that is carried over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Carried {
    /// The process that has it, as a number in the image, or its own number (open files).
    pub owner: u32,
    /// Which one of its owner's.
    pub part: u32,
    /// Its family.
    pub family: Family,
    /// What it is called.
    pub kind: String,
    /// What it is, in a line.
    pub what: String,
}

/// Looks at the tree whose root is `pid`.
///
/// # Errors
///
/// If the process is gone, or may not be traced.
pub fn explain(pid: i32, options: &DumpOptions, backend: Backend) -> Result<Explanation> {
    let kinds = Kinds::all();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let captured = dump::look(pid, options, backend)?;
    let carried = captured
        .records
        .iter()
        .map(|record| {
            let (kind, what) = kinds.describe(record)?;
            Ok(Carried {
                owner: record.owner,
                part: record.part,
                family: Family::of(record.tag),
                kind,
                what,
            })
        })
        .collect::<Result<_>>()?;
    // The program runs again: a socket can be read all the same.
    let (sockets, sockets_found) = sockets(&captured.pids, backend);
    Ok(Explanation {
        pid,
        name: name.trim_end().into(),
        verdict: verdict(&captured.refusals),
        pids: captured.pids,
        threads: captured.threads,
        frozen_ns: captured.frozen_ns,
        module: captured.module,
        carried,
        refusals: captured.refusals,
        sockets,
        sockets_found,
    })
}

fn verdict(refusals: &[Refusal]) -> Verdict {
    match refusals.iter().map(|refusal| refusal.weight).max() {
        None | Some(Weight::Loss) => Verdict::Yes,
        Some(Weight::Decision) => Verdict::Decide,
        Some(Weight::Blocker) => Verdict::No,
    }
}

/// Reads each socket of the processes once, and tells how many there are.
///
/// A process or descriptor that has gone meanwhile has no socket to show.
fn sockets(pids: &[i32], backend: Backend) -> (Vec<SocketView>, u64) {
    let device = match backend {
        Backend::Mainline => Err(Errno::ENODEV),
        Backend::Auto | Backend::Module => Device::open(),
    };
    let mut seen = BTreeSet::new();
    let mut views = Vec::new();
    for &pid in pids {
        let Ok(process) = pidfd::open(pid) else {
            continue;
        };
        for (fd, inode) in socket_descriptors(pid) {
            if !seen.insert(inode) {
                continue;
            }
            let read = device
                .as_ref()
                .map(|device| device.socket(process.as_fd(), fd));
            if let Ok(Ok((socket, pending))) = read {
                views.push(SocketView::new(pid, fd, inode, &socket, &pending));
            }
        }
    }
    (views, seen.len() as u64)
}

/// Descriptors of a process that are sockets, by number, with the inode numbers of the sockets.
fn socket_descriptors(pid: i32) -> Vec<(i32, u64)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let mut found: Vec<(i32, u64)> = entries
        .flatten()
        .filter_map(|entry| {
            let fd = entry.file_name().to_str()?.parse().ok()?;
            let link = fs::read_link(entry.path()).ok()?;
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some((fd, inode.parse().ok()?))
        })
        .collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_heaviest_refusal_decides() {
        let refusal = |weight| Refusal {
            weight,
            task: 1,
            object: "fd 3".into(),
            why: "why".into(),
            remedy: "remedy".into(),
        };
        assert_eq!(verdict(&[]), Verdict::Yes);
        let mut refusals = vec![refusal(Weight::Loss)];
        assert_eq!(verdict(&refusals), Verdict::Yes);
        refusals.insert(0, refusal(Weight::Decision));
        assert_eq!(verdict(&refusals), Verdict::Decide);
        refusals.insert(0, refusal(Weight::Blocker));
        assert_eq!(verdict(&refusals), Verdict::No);
    }

    #[test]
    fn a_shared_socket_is_found_once() {
        let (one, other) = UnixStream::pair().unwrap();
        let again = one.try_clone().unwrap();
        let own = std::process::id() as i32;
        let found = socket_descriptors(own);
        let inode = |fd: i32| {
            found
                .iter()
                .find(|(number, _)| *number == fd)
                .map(|(_, inode)| inode)
        };
        assert!(inode(one.as_raw_fd()).is_some());
        assert_eq!(inode(one.as_raw_fd()), inode(again.as_raw_fd()));
        assert_ne!(inode(one.as_raw_fd()), inode(other.as_raw_fd()));
    }
}
