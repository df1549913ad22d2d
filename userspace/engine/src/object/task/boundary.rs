// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a task may not have: it would be lost, so it is refused or named.

use std::cmp::Ordering;
use std::path::PathBuf;
use std::sync::OnceLock;

use crust_sys::kcmp::{self, Kind};
use crust_sys::ptrace;
use nix::errno::Errno;

use super::ThreadView;
use super::view::ProcessText;
use crate::capture::Capture;
use crate::subject::FrozenProcess;
use crate::{Error, Result};

/// The namespaces of a process. Those that come first each thread can leave for itself; the others only
/// a process with a single thread (kernel/fork.c:check_unshare_flags, kernel/time/namespace.c:timens_install),
/// or it gets them when it is made.
pub(super) const NAMESPACES: [&str; 10] = [
    "cgroup",
    "ipc",
    "mnt",
    "net",
    "uts",
    "pid_for_children",
    "time_for_children",
    "pid",
    "time",
    "user",
];

/// How many of [`NAMESPACES`] a thread can have for itself.
pub(super) const NAMESPACES_OF_THREAD: usize = 7;

/// The namespaces of crust, in the order of [`NAMESPACES`]; it never leaves them.
fn own_namespaces() -> &'static [Option<PathBuf>] {
    static OWN: OnceLock<Vec<Option<PathBuf>>> = OnceLock::new();
    OWN.get_or_init(|| {
        NAMESPACES
            .iter()
            .map(|name| std::fs::read_link(format!("/proc/self/ns/{name}")).ok())
            .collect()
    })
}

/// Names the namespaces of a thread that are not those of crust.
fn check_namespaces(view: &ThreadView<'_>, capture: &mut Capture<'_>) {
    let theirs = NAMESPACES.iter().zip(&view.text.namespaces);
    // A kernel without this kind of namespace has no such link, for nobody.
    let foreign = theirs
        .zip(own_namespaces())
        .filter(|((_, link), own)| link != own);
    for ((name, _), _) in foreign {
        capture.refusals.block(
            view.thread.tid,
            format!("{name} namespace"),
            "it is not in the one that crust is in, and crust does not restore namespaces yet",
            "dump it from within its namespaces, for instance from within the container",
        );
    }
}

/// A file of `/proc/PID` that a restored process has as crust has it.
pub(super) struct Label {
    pub(super) name: &'static str,
    what: &'static str,
    why: &'static str,
}

pub(super) const LABELS: &[Label] = &[
    Label {
        name: "attr/current",
        what: "security label",
        why: "its label is not that of crust, whose label the restored process gets",
    },
    Label {
        name: "cgroup",
        what: "cgroup",
        why: "it is in another cgroup than crust, in whose cgroup it is restored",
    },
];

/// What crust has in the files of [`LABELS`].
fn own_labels() -> &'static [Option<Vec<u8>>] {
    static OWN: OnceLock<Vec<Option<Vec<u8>>>> = OnceLock::new();
    OWN.get_or_init(|| {
        LABELS
            .iter()
            .map(|label| std::fs::read(format!("/proc/self/{}", label.name)).ok())
            .collect()
    })
}

/// Whether two tasks have the same object.
fn shares(a: i32, b: i32, kind: Kind) -> Result<bool> {
    let order = kcmp::tasks(a, b, kind).map_err(|errno| Error::task(b, "kcmp", errno))?;
    Ok(order == Ordering::Equal)
}

/// Names what a process may not have.
///
/// # Errors
///
/// What broke.
pub fn check_process(
    process: &FrozenProcess,
    text: &ProcessText,
    capture: &mut Capture<'_>,
) -> Result<()> {
    let pid = process.pid;
    if process.leader().is_some_and(|leader| leader.tid != pid) {
        capture.refusals.block(
            pid,
            "process",
            "its main thread has ended while others go on",
            "end the process, or dump it before its main thread ends",
        );
    }
    if process.syscall_insn.is_none() && !capture.hooks.abilities().read_only {
        capture.refusals.block(
            pid,
            "process",
            "it has unmapped its vDSO, in which it would have to make system calls that tell its state",
            "load the module",
        );
    }
    let parent = process
        .parent
        .and_then(|id| capture.tree.get(id.0 as usize));
    if let Some(parent) = parent.filter(|parent| parent.zombie.is_none()) {
        for (kind, what) in [
            (Kind::Vm, "address space"),
            (Kind::Fs, "working directory and umask"),
        ] {
            if shares(parent.pid, pid, kind)? {
                capture.refusals.block(
                    pid,
                    what,
                    format!(
                        "it is shared with process {} (vfork, or clone with such a flag)",
                        parent.pid
                    ),
                    "if this is a vfork, try again when the child has called exec",
                );
            }
        }
    }
    // Without a security module nobody has a label.
    for ((file, own), theirs) in LABELS.iter().zip(own_labels()).zip(&text.labels) {
        if theirs != own {
            capture.refusals.lose(
                pid,
                file.what,
                file.why,
                "restore it from where it should be",
            );
        }
    }
    Ok(())
}

/// Names what a thread may not have.
///
/// # Errors
///
/// What broke.
pub fn check_thread(view: &ThreadView<'_>, capture: &mut Capture<'_>) -> Result<()> {
    let tid = view.thread.tid;
    let thread = format!("thread {tid}");
    check_namespaces(view, capture);
    if view.number != 0 {
        for (kind, what) in [
            (Kind::Fs, "working directory and umask"),
            (Kind::Files, "table of descriptors"),
        ] {
            if !shares(view.process.pid, tid, kind)? {
                capture.refusals.block(
                    tid,
                    what,
                    "the thread has its own, apart from its process (unshare), which crust does not restore yet",
                    "do not unshare it",
                );
            }
        }
    }
    if view.text.status.number("Seccomp").unwrap_or(0) != 0 {
        capture.refusals.block(
            tid,
            &thread,
            "it has seccomp filters, which crust does not restore yet",
            "start the program without its sandbox",
        );
    }
    let features = view.text.status.get("x86_Thread_features").unwrap_or("");
    if features.contains("shstk") {
        capture.refusals.block(
            tid,
            &thread,
            "it has a shadow stack, which crust does not restore yet",
            "start it with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off",
        );
    }
    match ptrace::user_dispatch(tid) {
        Ok(config) if config.mode != 0 => capture.refusals.block(
            tid,
            &thread,
            "its system calls are dispatched to itself (PR_SET_SYSCALL_USER_DISPATCH), which crust does not restore yet",
            "switch it off before the dump",
        ),
        // EIO: a kernel before 6.4, which does not tell.
        Ok(_) | Err(Errno::EIO | Errno::EINVAL) => {}
        Err(errno) => return Err(Error::task(tid, "read syscall user dispatch", errno)),
    }
    Ok(())
}
