// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A frozen process as capture sees it: its stopped threads, and where to read about them.

use std::os::fd::OwnedFd;

use crust_model::plan::ProcessId;
use crust_model::refusal::Refusals;
use crust_model::{Error, Result};
use crust_sys::ptrace::option;
use crust_sys::{RemoteAddr, pidfd};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::deadline::SyscallTimeout;

/// A thread that is in a ptrace-stop and traced by this (calling) thread.
#[derive(Debug)]
pub struct FrozenThread {
    /// The thread id, in the pid namespace of crust.
    pub tid: i32,
    /// The general registers at the time of the stop.
    pub registers: crust_sys::ptrace::UserRegs,
    /// The signal mask; within a call that has a mask of its own, the mask outside of that call.
    pub mask: u64,
    /// The timeout of the call that the thread will continue, unless the kernel takes care of it.
    pub limit: Option<SyscallTimeout>,
}

/// A process all of whose threads are stopped.
#[derive(Debug)]
pub struct FrozenProcess {
    /// The number of the process in the image.
    pub id: ProcessId,
    /// The process id, in the pid namespace of crust.
    pub pid: i32,
    /// The parent in the tree; `None` for the root.
    pub parent: Option<ProcessId>,
    /// An open descriptor of `/proc/PID`; read everything relative to it (`openat`), so that a
    /// reused process id cannot mislead us. If the leader has ended, this is the directory of the
    /// first thread, as little is left of the leader.
    pub proc: OwnedFd,
    /// A pidfd of the process, or, if the leader has ended, of the first thread.
    pub pidfd: OwnedFd,
    /// The threads that have not ended, the leader first. Empty for a zombie.
    pub threads: Vec<FrozenThread>,
    /// The exit status of the leader, if it has ended while other threads continue.
    pub ended_leader: Option<i32>,
    /// The exit status as `wait4` would report it, if the process is a zombie.
    pub zombie: Option<i32>,
    /// The options with which the threads are traced, including `SUSPEND_SECCOMP` where crust may
    /// use it.
    pub options: i32,
    /// Whether the process has children that have ended but that it has not waited for.
    pub has_zombies: bool,
    /// The signal that stopped the process before crust did (`SIGSTOP`, `SIGTSTP`, ...), if any.
    pub stopped: Option<i32>,
    /// The auxiliary vector: pairs of 64-bit words. Empty for a zombie.
    pub auxv: Vec<u8>,
    /// A `syscall` instruction in the vDSO, for remote system calls.
    pub syscall_insn: Option<RemoteAddr>,
}

impl FrozenProcess {
    /// Returns the first thread, which represents the whole process: the thread group leader,
    /// unless it has ended. `None` for a zombie.
    #[must_use]
    pub fn leader(&self) -> Option<&FrozenThread> {
        self.threads.first()
    }

    /// Returns whether the seccomp filters of its threads are suspended while they are traced.
    #[must_use]
    pub fn filters_rest(&self) -> bool {
        self.options & option::SUSPEND_SECCOMP != 0
    }

    /// Returns the id of a task that has the memory and all other resources of the process.
    #[must_use]
    pub fn task(&self) -> i32 {
        self.leader().map_or(self.pid, |thread| thread.tid)
    }

    /// Returns the threads with their numbers in the process; the leader has number 0.
    pub fn numbered(&self) -> impl Iterator<Item = (u32, &FrozenThread)> {
        let first = u32::from(self.ended_leader.is_some());
        (first..).zip(&self.threads)
    }
}

/// Opens a process, before it is stopped. `None` if it is gone.
pub(crate) fn open_process(pid: i32, parent: Option<ProcessId>) -> Result<Option<FrozenProcess>> {
    if pid == nix::unistd::getpid().as_raw() {
        return refuse(
            pid,
            "crust-itself",
            "process",
            "crust itself is in this tree, and cannot stop itself",
            "run crust from outside of that tree, for example from another terminal",
        );
    }
    let proc = match open_directory(pid) {
        Ok(proc) => proc,
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(Error::task(pid, format!("open /proc/{pid}"), errno)),
    };
    let pidfd = match pidfd::open(pid) {
        Ok(pidfd) => pidfd,
        Err(Errno::ESRCH) => return Ok(None),
        Err(errno) => return Err(Error::task(pid, "pidfd_open", errno)),
    };
    Ok(Some(FrozenProcess {
        id: ProcessId::default(),
        pid,
        parent,
        proc,
        pidfd,
        threads: Vec::new(),
        ended_leader: None,
        zombie: None,
        options: 0,
        has_zombies: false,
        stopped: None,
        auxv: Vec::new(),
        syscall_insn: None,
    }))
}

/// Returns an [`Error::Refused`] with one refusal.
pub fn refuse<T>(
    task: i32,
    code: &'static str,
    object: impl Into<String>,
    why: impl Into<String>,
    remedy: impl Into<String>,
) -> Result<T> {
    let mut refusals = Refusals::default();
    refusals.block(task, code, object, why, remedy);
    Err(Error::Refused(refusals.into_vec()))
}

/// Opens `/proc/TID`, which exists for any thread, although only leaders are listed.
pub(crate) fn open_directory(tid: i32) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(format!("/proc/{tid}").as_str(), flags, Mode::empty())
}
