// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A frozen process as capture sees it: stopped threads, and where to read about them.

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

/// A thread that is stopped by ptrace and traced by this (calling) thread.
#[derive(Debug)]
pub struct FrozenThread {
    /// Its thread id, in the pid namespace of crust.
    pub tid: i32,
    /// Its general registers as they were when it stopped.
    pub registers: crust_sys::ptrace::UserRegs,
    /// The signals that it blocks; in a call with a mask of its own, those around it.
    pub mask: u64,
    /// The time limit of the call that it goes on with, unless the kernel sees to it.
    pub limit: Option<SyscallTimeout>,
}

/// A process all of whose threads are stopped.
#[derive(Debug)]
pub struct FrozenProcess {
    /// Its number in the image.
    pub id: ProcessId,
    /// Its process id, in the pid namespace of crust.
    pub pid: i32,
    /// Its parent in the tree; `None` for the root.
    pub parent: Option<ProcessId>,
    /// `/proc/PID`, opened; read everything relative to it (`openat`), so that a reused number
    /// cannot fool us. If the leader has ended, that of the first thread: of the leader there is not much.
    pub proc: OwnedFd,
    /// A pidfd to it, or, if the leader has ended, to the first thread.
    pub pidfd: OwnedFd,
    /// Its threads that have not ended, the leader first. Empty for a zombie.
    pub threads: Vec<FrozenThread>,
    /// The status with which the leader has ended, if other threads go on.
    pub ended_leader: Option<i32>,
    /// The exit status as `wait4` would report it, if it is a zombie.
    pub zombie: Option<i32>,
    /// The options with which its threads are traced: `SUSPEND_SECCOMP` is among them where crust may.
    pub options: i32,
    /// Whether children of it have ended that it has not waited for.
    pub has_zombies: bool,
    /// The signal by which it was stopped before crust came (`SIGSTOP`, `SIGTSTP`, ...), if it was.
    pub stopped: Option<i32>,
    /// Its auxiliary vector: pairs of 64-bit words. Empty for a zombie.
    pub auxv: Vec<u8>,
    /// A `syscall` instruction in its vDSO, for remote system calls.
    pub syscall_insn: Option<RemoteAddr>,
}

impl FrozenProcess {
    /// The first of its threads, which speaks for all of it: the leader, if that goes on. `None` for a zombie.
    #[must_use]
    pub fn leader(&self) -> Option<&FrozenThread> {
        self.threads.first()
    }

    /// Whether filters of system calls rest while its threads are traced.
    #[must_use]
    pub fn filters_rest(&self) -> bool {
        self.options & option::SUSPEND_SECCOMP != 0
    }

    /// The number of a task that has its memory and all else that is the process's.
    #[must_use]
    pub fn task(&self) -> i32 {
        self.leader().map_or(self.pid, |thread| thread.tid)
    }

    /// Its threads, with their numbers in the process; that of the leader is 0.
    pub fn numbered(&self) -> impl Iterator<Item = (u32, &FrozenThread)> {
        let first = u32::from(self.ended_leader.is_some());
        (first..).zip(&self.threads)
    }
}

/// What can be told of a process before it is stopped. `None`: it is gone.
pub fn open_process(pid: i32, parent: Option<ProcessId>) -> Result<Option<FrozenProcess>> {
    if pid == std::process::id() as i32 {
        return refuse(
            pid,
            "process",
            "crust itself is in the tree that it should stop",
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

/// An [`Error::Refused`] with one refusal.
pub fn refuse<T>(
    task: i32,
    object: impl Into<String>,
    why: impl Into<String>,
    remedy: impl Into<String>,
) -> Result<T> {
    let mut refusals = Refusals::default();
    refusals.block(task, object, why, remedy);
    Err(Error::Refused(refusals.into_vec()))
}

/// `/proc/TID`, which is there for any thread, though only leaders are listed.
pub fn open_directory(tid: i32) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(format!("/proc/{tid}").as_str(), flags, Mode::empty())
}
