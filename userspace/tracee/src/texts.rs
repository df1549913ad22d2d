// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The `/proc` files of a frozen tree. They are read for the whole tree at once, on all processors.

use std::path::PathBuf;

use crust_model::{Error, Result};
use crust_proc::{Fields, Stat};

use crate::frozen_process::{FrozenProcess, FrozenThread};
use crate::{freeze, parallel, security_labels};

/// Files of `/proc/PID`.
pub struct ProcessText {
    /// `limits`.
    pub limits: String,
    /// `timers`.
    pub timers: String,
    /// `oom_score_adj`.
    pub oom_score_adj: String,
    /// `coredump_filter`.
    pub coredump_filter: String,
    /// `cgroup`; empty on a kernel without control groups.
    pub cgroup: Vec<u8>,
    /// The `stat` of a thread group leader that has ended.
    pub ended_leader: Option<Stat>,
}

/// Files of `/proc/PID/task/TID`.
#[derive(Clone)]
pub struct ThreadText {
    /// `status`.
    pub status: Fields,
    /// `stat`.
    pub stat: Stat,
    /// `personality`, unless the thread itself is asked for it.
    personality: Option<String>,
    /// The targets of the links of [`NAMESPACES`]; for a thread that is not the leader, only those
    /// of namespaces that a thread can have for itself. `None` if the kernel has no such
    /// namespaces.
    pub namespaces: Vec<Option<PathBuf>>,
    /// The contents of those files of [`security_labels`] that exist.
    pub labels: Vec<Option<Vec<u8>>>,
}

/// The namespaces of a process. Each thread can leave the first ones on its own; the others can be
/// left only by a process with a single thread (kernel/fork.c:check_unshare_flags,
/// kernel/time/namespace.c:timens_install), or by a thread that has its own working directory (mnt:
/// kernel/fork.c:ksys_unshare, kernel/namespace.c:mntns_install), or are set when the process is
/// created.
pub const NAMESPACES: [&str; 10] = [
    "cgroup",
    "ipc",
    "net",
    "uts",
    "pid_for_children",
    "time_for_children",
    "mnt",
    "pid",
    "time",
    "user",
];

/// How many of [`NAMESPACES`] are read for each thread: a working directory of its own is refused.
const NAMESPACES_OF_THREAD: usize = 6;

/// The texts of a process: its own files and those of each thread. There are none for a zombie.
pub type Texts = (Option<ProcessText>, Vec<ThreadText>);

/// Reads the `/proc` files of all processes of a tree; `read_only` if the threads themselves are
/// not asked for anything.
pub fn read(tree: &[FrozenProcess], read_only: bool) -> Result<Vec<Texts>> {
    let living = |process: &&FrozenProcess| process.leader().is_some();
    let processes: Vec<&FrozenProcess> = tree.iter().filter(living).collect();
    let threads: Vec<(&FrozenProcess, &FrozenThread)> = processes
        .iter()
        .flat_map(|&process| process.threads.iter().map(move |thread| (process, thread)))
        .collect();
    // A process costs as much as a few threads: five files and no links.
    let mut of_processes =
        parallel::map(&processes, 16, |process| ProcessText::read(process)).into_iter();
    let mut of_threads = parallel::map(&threads, 16, |(process, thread)| {
        ThreadText::read(process, thread, read_only)
    })
    .into_iter();
    tree.iter()
        .map(|process| {
            let of_process = process.leader().and_then(|_| of_processes.next());
            let of_threads = of_threads.by_ref().take(process.threads.len());
            Ok((of_process.transpose()?, of_threads.collect::<Result<_>>()?))
        })
        .collect()
}

impl ProcessText {
    fn read(process: &FrozenProcess) -> Result<Self> {
        let text = |name| crust_proc::read_text(&process.proc, process.pid, name);
        Ok(Self {
            limits: text("limits")?,
            timers: text("timers")?,
            oom_score_adj: text("oom_score_adj")?,
            coredump_filter: text("coredump_filter")?,
            cgroup: crust_proc::read(&process.proc, process.pid, "cgroup").unwrap_or_default(),
            ended_leader: process
                .ended_leader
                .map(|_| freeze::stat_of_leader(process))
                .transpose()?,
        })
    }
}

impl ThreadText {
    fn read(process: &FrozenProcess, thread: &FrozenThread, read_only: bool) -> Result<Self> {
        let (proc, pid, tid) = (&process.proc, process.pid, thread.tid);
        let text = |name: &str| crust_proc::read_text(proc, pid, &format!("task/{tid}/{name}"));
        let namespaces = match tid == process.task() {
            true => &NAMESPACES[..],
            false => &NAMESPACES[..NAMESPACES_OF_THREAD],
        };
        Ok(Self {
            status: Fields::new(text("status")?),
            stat: crust_proc::stat(proc, pid, &format!("task/{tid}/stat"))?,
            personality: read_only.then(|| text("personality")).transpose()?,
            namespaces: namespaces
                .iter()
                .map(|name| crust_proc::link(proc, pid, &format!("task/{tid}/ns/{name}")).ok())
                .collect(),
            labels: security_labels::read(proc, pid, &format!("task/{tid}")),
        })
    }

    /// Returns the personality.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read.
    pub fn personality(&self, process: &FrozenProcess, thread: &FrozenThread) -> Result<u32> {
        let name = format!("task/{}/personality", thread.tid);
        let text = match &self.personality {
            Some(text) => text.clone(),
            None => crust_proc::read_text(&process.proc, process.pid, &name)?,
        };
        u32::from_str_radix(text.trim(), 16).map_err(|error| {
            Error::malformed(format!("/proc/{}/{name}", process.pid), error.to_string())
        })
    }
}
