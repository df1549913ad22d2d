// SPDX-License-Identifier: Apache-2.0 OR MIT

//! State of a task that is not supported: it would be lost, so it is refused or reported.

use std::cmp::Ordering;
use std::path::PathBuf;
use std::sync::OnceLock;

use crust_model::refusal::USE_THE_MODULE;
use crust_model::{Error, Result};
use crust_sys::kcmp::{self, Kind};
use crust_tracee::frozen_process::FrozenProcess;
use crust_tracee::texts::{NAMESPACES, ProcessText, ThreadText};

use super::ThreadView;
use crate::capture::Capture;

/// Returns the namespaces of crust, in the order of [`NAMESPACES`]; it never leaves them.
fn own_namespaces() -> &'static [Option<PathBuf>] {
    static OWN: OnceLock<Vec<Option<PathBuf>>> = OnceLock::new();
    OWN.get_or_init(|| {
        NAMESPACES
            .iter()
            .map(|name| std::fs::read_link(format!("/proc/self/ns/{name}")).ok())
            .collect()
    })
}

/// Refuses the namespaces of a thread that differ from crust's, except the time namespace, which is carried over
/// ([`time`](crate::namespace::time)).
fn check_namespaces(view: &ThreadView<'_>, capture: &mut Capture<'_>) {
    let theirs = NAMESPACES.iter().zip(&view.text.namespaces);
    // A kernel without this kind of namespace has no such link for any process.
    let foreign = theirs
        .zip(own_namespaces())
        .filter(|((name, link), own)| link != own && !name.starts_with("time"));
    for ((name, _), _) in foreign {
        capture.refusals.block(
            view.thread.tid,
            "namespace",
            format!("{name} namespace"),
            "it is in another one than crust, and namespaces are not carried over yet",
            "run crust within the namespaces of the program, for example within the container",
        );
    }
}

/// Returns the control groups of crust.
fn own_cgroup() -> &'static [u8] {
    static OWN: OnceLock<Vec<u8>> = OnceLock::new();
    OWN.get_or_init(|| std::fs::read("/proc/self/cgroup").unwrap_or_default())
}

/// Returns whether two tasks share an object of a kind.
fn shares(a: i32, b: i32, kind: Kind) -> Result<bool> {
    let order = kcmp::tasks(a, b, kind).map_err(|errno| Error::task(b, "kcmp", errno))?;
    Ok(order == Ordering::Equal)
}

/// Refuses unsupported processor settings and private state of a process, some of which only the process itself can
/// query.
fn check_hidden(
    process: &FrozenProcess,
    leader: &ThreadText,
    capture: &mut Capture<'_>,
) -> Result<()> {
    let hidden = capture.hooks.hidden(process)?;
    let is_strict = leader.status.number("Seccomp") == Some(libc::SECCOMP_MODE_STRICT.into());
    let untag_mask = leader.status.get("untag_mask");
    for (is, what, why, remedy) in [
        (
            untag_mask.is_some_and(|mask| mask != "0xffffffffffffffff"),
            "address masking",
            "the program keeps tags in its addresses (ARCH_ENABLE_TAGGED_ADDR), which is not carried over yet",
            "run it without tagged addresses",
        ),
        (
            hidden.landlock,
            "Landlock",
            "the program is in a Landlock domain, whose rules the kernel shows to nobody",
            "start it without its sandbox",
        ),
        (
            hidden.no_tsc && !is_strict,
            "time stamp counter",
            "the program may not read it (PR_SET_TSC), which is not carried over yet",
            "have the program allow it again before the dump (PR_TSC_ENABLE)",
        ),
        (
            hidden.no_cpuid,
            "CPUID instruction",
            "the program may not execute it (ARCH_SET_CPUID), which is not carried over yet",
            "have the program allow it again before the dump",
        ),
        (
            hidden.segments,
            "local descriptor table",
            "it has entries (modify_ldt), which are not carried over yet",
            "have the program clear them before the dump",
        ),
        (
            hidden.keyring,
            "keyring",
            "the process or its main thread has one of its own, which nobody else can read",
            "have the program keep its keys in the keyring of its user",
        ),
        (
            hidden.uring_restrictions,
            "io_uring restrictions",
            "the task has some, and the kernel does not tell which",
            "start the program without them",
        ),
    ] {
        if is {
            capture
                .refusals
                .block(process.pid, "unsupported", what, why, remedy);
        }
    }
    Ok(())
}

/// Refuses or reports the unsupported state of a process.
///
/// # Errors
///
/// If something breaks.
pub fn check_process(
    process: &FrozenProcess,
    text: &ProcessText,
    leader: &ThreadText,
    capture: &mut Capture<'_>,
) -> Result<()> {
    let pid = process.pid;
    check_hidden(process, leader, capture)?;
    if text.cgroup != own_cgroup() {
        capture.refusals.lose(
            pid,
            "cgroup",
            "cgroup",
            "it is in another cgroup than crust: a restore puts it into the cgroup of the crust that restores it",
            "run crust restore in the cgroup in which the program is to be",
        );
    }
    if process.syscall_insn.is_none() && !capture.hooks.features().read_only {
        capture.refusals.block(
            pid,
            "vdso-unmapped",
            "process",
            "it has unmapped its vDSO, from which crust would have it make the system calls that tell its state",
            USE_THE_MODULE,
        );
    }
    Ok(())
}

/// Refuses or reports the unsupported state of a thread.
///
/// # Errors
///
/// If something breaks.
pub fn check_thread(view: &ThreadView<'_>, capture: &mut Capture<'_>) -> Result<()> {
    let tid = view.thread.tid;
    check_namespaces(view, capture);
    // The descriptor table of the thread is examined together with those of processes.
    let task = view.process.task();
    if tid != task && !shares(task, tid, Kind::Fs)? {
        capture.refusals.block(
            tid,
            "thread-directories",
            "working directory and umask",
            "the thread has its own, apart from its process (unshare), which is not carried over yet",
            "run the program without such threads, or dump it when they have ended",
        );
    }
    Ok(())
}
