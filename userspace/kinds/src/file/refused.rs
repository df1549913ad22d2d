// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Open files that cannot be carried over: what each is, why it is refused, and what the user can
//! do.
//!
//! Whatever no kind in the [table](crate::registry::KINDS) matches ends up here, so nothing is left out
//! silently.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crust_model::Result;
use crust_sys::{fcntl, sockopt};
use nix::sys::socket::{SockaddrLike, SockaddrStorage, getpeername, getsockname};
use nix::sys::statfs::fstatfs;

use super::collect::FileCapture;
use super::probe::Probe;
use crate::path::FilePath;
use crate::pathless::ghost::{MQUEUE_MAGIC, still_named};

const NOT_YET: &str = "have the program close it before the dump";
const STOP_USING: &str = "have the program close it before the dump, or run without it";
pub(super) const CLOSE_LISTENER: &str = "if the program can close it and go on, by its configuration for example, have it do so for the \
                              dump, and open it again afterwards";

/// The start of the link of each known kind, what it is and why it cannot be carried over, and the
/// remedy.
const BY_LINK: &[(&str, &str, &str)] = &[
    (
        "anon_inode:[fanotify]",
        "a fanotify group: its marks and queued events are not carried over yet",
        NOT_YET,
    ),
    (
        "anon_inode:[userfaultfd]",
        "a userfaultfd: the faults that wait for an answer cannot be read",
        STOP_USING,
    ),
    (
        "anon_inode:[perf_event]",
        "a perf event: it counts what this processor does, which a restore cannot continue",
        STOP_USING,
    ),
    (
        "anon_inode:bpf-map",
        "a BPF map: not carried over yet",
        "pin it in /sys/fs/bpf and have the program open it again",
    ),
    (
        "anon_inode:bpf-prog",
        "a BPF program: the kernel does not give back what was loaded",
        "have the program load it again after the restore",
    ),
    (
        "anon_inode:bpf_link",
        "a BPF link: it attaches a program to this kernel",
        STOP_USING,
    ),
    (
        "anon_inode:seccomp notify",
        "a seccomp listener: the calls that wait for its answer cannot be read",
        STOP_USING,
    ),
    (
        "anon_inode:[landlock-ruleset]",
        "a Landlock ruleset: the kernel does not give back its rules",
        "have the program enforce it, and close it, before the dump",
    ),
    (
        "anon_inode:[fscontext]",
        "a file system context (fsopen): the kernel does not give back what was configured",
        STOP_USING,
    ),
    (
        "anon_inode:kvm",
        "a KVM object: the state of a virtual machine is in the kernel",
        STOP_USING,
    ),
    (
        "net:[",
        "a network namespace: not carried over yet",
        NOT_YET,
    ),
    ("mnt:[", "a mount namespace: not carried over yet", NOT_YET),
    ("pid:[", "a pid namespace: not carried over yet", NOT_YET),
    ("user:[", "a user namespace: not carried over yet", NOT_YET),
    ("uts:[", "a UTS namespace: not carried over yet", NOT_YET),
    ("ipc:[", "an IPC namespace: not carried over yet", NOT_YET),
    (
        "cgroup:[",
        "a cgroup namespace: not carried over yet",
        NOT_YET,
    ),
    ("time:[", "a time namespace: not carried over yet", NOT_YET),
    (
        "/dmabuf:",
        "a DMA buffer: it is memory of a device",
        STOP_USING,
    ),
    (
        "/secretmem",
        "secret memory (memfd_secret): nobody but the program can read it",
        STOP_USING,
    ),
];

/// Returns whether files with such a link are known to be refused.
pub(super) fn is_known(link: &[u8]) -> bool {
    BY_LINK
        .iter()
        .any(|(start, ..)| link.starts_with(start.as_bytes()))
}

/// Refuses a description of a kind that is not carried over.
pub(super) fn refuse(probe: &Probe, cx: &mut FileCapture) -> Result<()> {
    let link = String::from_utf8_lossy(&probe.link).into_owned();
    let known = BY_LINK.iter().find(|(start, ..)| link.starts_with(start));
    let (why, remedy) = match known {
        Some((_, why, remedy)) => ((*why).to_owned(), *remedy),
        None => by_type(probe, &link),
    };
    cx.refuse(probe, "file-kind", why, remedy);
    Ok(())
}

fn by_type(probe: &Probe, link: &str) -> (String, &'static str) {
    let rdev = probe.identity.rdev;
    let (major, minor) = (libc::major(rdev), libc::minor(rdev));
    if probe.flags & libc::O_PATH != 0 {
        return (
            format!("{link}, opened with O_PATH: no path leads to it"),
            STOP_USING,
        );
    }
    match (probe.file_type(), major, minor) {
        (libc::S_IFCHR, 5, 2) => (
            format!(
                "the controlling side of a pseudo-terminal ({link}): this kernel does not tell its number"
            ),
            "dump the programs in the terminal without the program that made it",
        ),
        (libc::S_IFCHR, 10, 200) => (
            format!("a network tunnel ({link}): not carried over yet"),
            STOP_USING,
        ),
        (libc::S_IFCHR, ..) => (
            format!("character device {major}:{minor} ({link}): its driver may hold state"),
            STOP_USING,
        ),
        (libc::S_IFBLK, ..) => (
            format!("block device {major}:{minor} ({link}): not carried over yet"),
            NOT_YET,
        ),
        _ => (
            format!("{link}: a kind of file that crust does not know"),
            STOP_USING,
        ),
    }
}

/// Refuses a file that cannot be reached by its path.
pub(super) fn refuse_unreachable(probe: &Probe, cx: &mut FileCapture) -> Result<()> {
    let link = String::from_utf8_lossy(&probe.link);
    let file = probe.take()?;
    let file_system = fstatfs(&file).map_or(0, |stat| stat.filesystem_type().0);
    let (why, remedy) = if file_system == MQUEUE_MAGIC {
        (
            format!("POSIX message queue {link}: not carried over yet"),
            NOT_YET,
        )
    } else if file_system == libc::HUGETLBFS_MAGIC {
        (
            format!("a file of huge pages ({link}): not carried over yet"),
            NOT_YET,
        )
    } else if probe.file_type() == libc::S_IFREG && link.ends_with(" (deleted)") {
        let path = FilePath(link.trim_end_matches(" (deleted)").into());
        let unreachable = still_named(&path, probe.identity.links.into());
        cx.refuse(probe, unreachable.code, unreachable.why, unreachable.remedy);
        return Ok(());
    } else if link.ends_with(" (deleted)") {
        (
            format!("{link}: no path leads to it, and it is no regular file"),
            "have the program close it, or delete it only after the dump",
        )
    } else {
        (
            format!(
                "{link}: the path leads to another file (something is mounted over it, or it \
                is in another mount namespace)"
            ),
            "unmount what hides it, or run crust in the mount namespace of the program (nsenter -m)",
        )
    };
    cx.refuse(probe, "file-unreachable", why, remedy);
    Ok(())
}

/// Refuses a socket that is not a Unix socket.
pub(super) fn refuse_socket(
    probe: &Probe,
    socket: &OwnedFd,
    domain: i32,
    cx: &mut FileCapture,
) -> Result<()> {
    let ask = |name| {
        sockopt::get_int(socket.as_fd(), libc::SOL_SOCKET, name)
            .map_err(|errno| probe.failed("getsockopt", errno))
    };
    let (kind, protocol) = (ask(libc::SO_TYPE)?, ask(libc::SO_PROTOCOL)?);
    let is_listening = ask(libc::SO_ACCEPTCONN)? != 0;
    let local = local_name(socket);
    let peer = peer_name(socket);
    let (what, remedy) = match (domain, kind, protocol) {
        (libc::AF_INET | libc::AF_INET6, _, libc::IPPROTO_TCP) if is_listening => {
            (format!("a TCP socket that listens{local}"), CLOSE_LISTENER)
        }
        (libc::AF_INET | libc::AF_INET6, _, libc::IPPROTO_TCP) if !peer.is_empty() => (
            format!("a TCP connection{local} to{peer}{}", queues(socket)),
            "have the program close the connection before the dump, and connect again afterwards",
        ),
        (libc::AF_INET | libc::AF_INET6, _, libc::IPPROTO_TCP) => (
            format!("a TCP socket{local} that is not connected"),
            NOT_YET,
        ),
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDP) => {
            (format!("a UDP socket{local}"), NOT_YET)
        }
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_RAW, _) => {
            (format!("a raw IP socket of protocol {protocol}"), NOT_YET)
        }
        (libc::AF_NETLINK, ..) => (format!("a netlink socket of protocol {protocol}"), NOT_YET),
        (libc::AF_PACKET, ..) => ("a packet socket".to_owned(), NOT_YET),
        (libc::AF_VSOCK, ..) => (
            "a socket to a virtual machine (AF_VSOCK)".to_owned(),
            STOP_USING,
        ),
        (libc::AF_ALG, ..) => (
            "a socket of the kernel's cryptography (AF_ALG), which keeps its key".to_owned(),
            STOP_USING,
        ),
        (libc::AF_BLUETOOTH, ..) => ("a Bluetooth socket".to_owned(), STOP_USING),
        (libc::AF_CAN, ..) => ("a CAN socket".to_owned(), NOT_YET),
        (libc::AF_XDP, ..) => ("an XDP socket".to_owned(), STOP_USING),
        _ => (
            format!("a socket of family {domain}, type {kind}, protocol {protocol}"),
            STOP_USING,
        ),
    };
    cx.refuse(
        probe,
        "socket",
        format!("{what}: not carried over yet"),
        remedy,
    );
    Ok(())
}

/// Describes the data in the queues of a TCP connection.
fn queues(socket: &OwnedFd) -> String {
    match (
        fcntl::readable(socket.as_fd()),
        fcntl::unsent(socket.as_fd()),
    ) {
        (Ok(unread), Ok(unsent)) => {
            format!(" ({unread} bytes not read, {unsent} not acknowledged)")
        }
        _ => String::new(),
    }
}

/// Returns ` at ADDRESS`, if the socket has an address.
pub(super) fn local_name(socket: &OwnedFd) -> String {
    match getsockname::<SockaddrStorage>(socket.as_raw_fd()) {
        Ok(address) => describe(&address).map_or_else(String::new, |text| format!(" at {text}")),
        Err(_) => String::new(),
    }
}

fn peer_name(socket: &OwnedFd) -> String {
    match getpeername::<SockaddrStorage>(socket.as_raw_fd()) {
        Ok(address) => describe(&address).map_or_else(String::new, |text| format!(" {text}")),
        Err(_) => String::new(),
    }
}

fn describe(address: &SockaddrStorage) -> Option<String> {
    if let Some(unix) = address.as_unix_addr() {
        let path = unix.path().map(|path| path.display().to_string());
        let name = unix.as_abstract();
        return path.or(name.map(|name| format!("@{}", String::from_utf8_lossy(name))));
    }
    (address.len() > 2).then(|| address.to_string())
}
