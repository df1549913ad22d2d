// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A frozen process as capture sees it: stopped threads, and where to read about them.

use std::os::fd::OwnedFd;

use crust_sys::RemoteAddr;

use crate::limit::Limit;
use crate::plan::ProcessId;

/// A thread that is stopped by ptrace and traced by this (calling) thread.
#[derive(Debug)]
pub struct FrozenThread {
    /// Its thread id, in the pid namespace of crust.
    pub tid: i32,
    /// A pidfd to the thread (`PIDFD_THREAD`; to the process for a leader).
    pub pidfd: OwnedFd,
    /// Its general registers as they were when it stopped.
    pub registers: crust_sys::ptrace::UserRegs,
    /// The time limit of the call that it goes on with, unless the kernel sees to it.
    pub limit: Option<Limit>,
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
    /// cannot fool us.
    pub proc: OwnedFd,
    /// Its threads, the leader first. Empty for a zombie.
    pub threads: Vec<FrozenThread>,
    /// The exit status as `wait4` would report it, if it is a zombie.
    pub zombie: Option<i32>,
    /// The signal by which it was stopped before crust came (`SIGSTOP`, `SIGTSTP`, ...), if it was.
    pub stopped: Option<i32>,
    /// Its auxiliary vector: pairs of 64-bit words. Empty for a zombie.
    pub auxv: Vec<u8>,
    /// A `syscall` instruction in its vDSO, for remote system calls.
    pub syscall_insn: Option<RemoteAddr>,
}

impl FrozenProcess {
    /// The thread group leader; `None` for a zombie.
    #[must_use]
    pub fn leader(&self) -> Option<&FrozenThread> {
        self.threads.first()
    }
}
