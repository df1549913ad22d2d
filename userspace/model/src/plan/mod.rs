// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A plan: what a restore will do, as plain data.
//!
//! A restore is mostly a list of *system calls that the restored tasks themselves make*, controlled
//! from outside, before they run again. The plan names them all; the executor only decides how many
//! go into one batch. The plan is divided into [`Stage`]s: every task finishes a stage before any
//! task begins the next (or so it seems: [`Stage::waits_for`]), so a step may rely on what other
//! tasks did in earlier stages, and on what its own task did before.
//!
//! The same image gives the same plan, byte for byte.

pub mod call;
pub mod clocks;
pub mod fill;
pub mod operation;
pub mod text;
pub mod timeout;

use std::collections::BTreeMap;
use std::fmt;

use crust_sys::{RemoteAddr, word};
use serde::{Deserialize, Serialize};

pub use self::call::{Arg, Call, CallRef, Data, Expect, Moment};
pub use self::clocks::{After, Clocks, Offsets, SECOND};
pub use self::fill::Fill;
pub use self::operation::{Module, Operation, Planned, TaskHandle};
pub use self::timeout::{Remaining, TimeoutLocation};
use crate::index;

/// A process of the image. Parents have smaller numbers than their children; the root is 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ProcessId(pub u32);

/// A thread of a process of the image; thread 0 is the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The process.
    pub process: ProcessId,
    /// The thread in that process.
    pub thread: u32,
}

impl ProcessId {
    /// Returns the process at this index of the list of all processes.
    #[must_use]
    pub fn at(index: usize) -> Self {
        Self(index::number(index))
    }

    /// Returns the thread group leader.
    #[must_use]
    pub fn leader(self) -> TaskId {
        TaskId {
            process: self,
            thread: 0,
        }
    }
}

/// The stages of a restore, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The root is created.
    Root,
    /// Each process maps and fills the memory that its children inherit, before it creates any of
    /// them.
    InheritedMemory,
    /// Processes are created, parents first, each with its pid.
    Spawn,
    /// Session and process group leaders get their ids (without the module, some of this is in
    /// `Spawn`).
    Leaders,
    /// Sessions get their controlling pseudo-terminals, which were created before.
    Terminals,
    /// With the module: processes whose pids are those of process groups get their sessions, before
    /// others join these groups there.
    Groups,
    /// All other processes get process group and session; the start times of processes are set.
    Members,
    /// Open file descriptions are created, each in the first process that has it.
    CreateFiles,
    /// Processes take descriptors that others created.
    ShareFiles,
    /// Everything that needs other descriptors first: epoll interest lists, descriptors in flight,
    /// offsets.
    ConnectFiles,
    /// The old address space is unmapped, the vDSO moves, the process's own mappings are laid out.
    MapMemory,
    /// Processes map shared memory that others created.
    ShareMemory,
    /// Pages are read from the image.
    FillMemory,
    /// Final protections, advice, locks, and the kernel's record of the address space are set.
    SealMemory,
    /// The other threads are created.
    Threads,
    /// Threads enable their shadow stacks, one after the other.
    ShadowStacks,
    /// Signal actions, names, scheduling, alternate stacks, rseq and working directory are set;
    /// descriptors that only the restore needed are closed.
    Attributes,
    /// Files are watched (inotify), after all tasks have opened and closed the files that they need
    /// to.
    Watches,
    /// Limits, root directory, credentials: everything that drops privileges.
    Credentials,
    /// Pending signals are queued (blocked until the end), timers are armed.
    Timers,
    /// Zombies exit, and are not reaped.
    Exit,
    /// Interrupted calls are restarted, registers and the start times of threads are set.
    Resume,
}

impl Stage {
    /// Returns whether a task must not begin this stage before all tasks have finished the stage
    /// `before` it. Otherwise its steps concern only the task itself.
    #[must_use]
    fn waits_for(self, before: Self) -> bool {
        let is_private = matches!(
            self,
            // A process that does not exist yet begins when its parent has created it.
            Self::InheritedMemory
                | Self::Spawn
                | Self::MapMemory
                | Self::FillMemory
                | Self::SealMemory
                | Self::Threads
                | Self::Attributes
                | Self::Credentials
                | Self::Timers
        );
        // Others map memory that was laid out for sharing: until then it must stay as it is. Address
        // space that is set aside for shadow stacks stays so until all threads have theirs.
        !is_private || [Self::ShareMemory, Self::ShadowStacks].contains(&before)
    }
}

/// The final processor state of a thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processor {
    /// `struct user_regs_struct`, as in `NT_PRSTATUS`.
    pub general: Vec<u8>,
    /// The XSAVE area, as in `NT_X86_XSTATE`.
    pub xstate: Vec<u8>,
    /// The signal mask.
    pub signal_mask: u64,
    /// Whether the thread continues from the entry of the call in which it was interrupted.
    pub enters: bool,
    /// The remaining timeout of that call.
    pub limit: Option<Remaining>,
}

/// A step of a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A system call by the task.
    Call(Call),
    /// Contents of the image that the task reads into its memory.
    Fill(Fill),
    /// Bytes that are written into the task's memory from outside.
    Write {
        /// A description of the bytes.
        label: String,
        /// The address to write to.
        address: RemoteAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// An operation that is not a system call, and that only one kind of object needs.
    Operate(Planned),
    /// [`Stage::Resume`]: an operation that runs after the registers of the task are set, when it
    /// makes no more calls.
    OperateAtEnd(Planned),
    /// [`Stage::Spawn`]: the task creates this child process. (Also in [`Stage::Leaders`], for a
    /// child that is dismissed later, and in [`Stage::Root`], where the executor creates the task
    /// itself.)
    SpawnChild {
        /// The child.
        child: ProcessId,
        /// The pid of the child, innermost namespace first; empty for any pid that no task of the plan has.
        pid: Vec<i32>,
        /// The signal sent to the parent on exit, 0 for none.
        exit_signal: i32,
        /// More flags of `clone3`: the resources that the child shares with the task.
        flags: u64,
    },
    /// A child that has stood in for a process that does not exist any more exits, and leaves
    /// nothing.
    Dismiss {
        /// The child.
        child: ProcessId,
    },
    /// [`Stage::Threads`]: the task creates this thread of its process.
    SpawnThread {
        /// The thread.
        thread: TaskId,
        /// The tid of the thread, innermost namespace first.
        tid: Vec<i32>,
    },
    /// [`Stage::Exit`]: the process becomes a zombie with this status (as of `wait4`).
    Exit {
        /// The status.
        status: i32,
    },
    /// [`Stage::Exit`]: the leader exits with this status (as of `wait4`), while the other threads
    /// of its process continue.
    ExitLeader {
        /// The status.
        status: i32,
    },
    /// [`Stage::Resume`]: the call that the thread was in at the dump is restarted and interrupted
    /// at once, so that the kernel itself sets up how it continues.
    Reenter(Call),
    /// [`Stage::Resume`]: a call that is made when no task makes any other call, with all signals
    /// blocked.
    CallAtLast(Call),
    /// [`Stage::Resume`]: the state with which the thread continues in the end.
    SetProcessor(Box<Processor>),
    /// [`Stage::Resume`], for a leader: the process stays stopped.
    StayStopped(StayStopped),
}

/// The state of a process that stays stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StayStopped {
    /// The signal that stopped it: `SIGSTOP` or a similar one.
    pub signal: i32,
    /// The parent; for the root, the root itself.
    pub parent: ProcessId,
    /// What the parent was told about the stop.
    pub reported: StopReported,
    /// Whether a `SIGCHLD` is pending in the parent anyway.
    pub signal_waits: bool,
}

/// What a parent was told about the stop of a child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReported {
    /// Nothing yet.
    #[default]
    Nothing,
    /// The parent got its `SIGCHLD`.
    Signal,
    /// The parent has also waited for it.
    Status,
}

/// The work to be done, by task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps of each task in each stage. They are only appended to: what is to come first has an
    /// earlier stage.
    stages: BTreeMap<Stage, BTreeMap<TaskId, Vec<Step>>>,
    /// The start of a range of addresses that no process of the image uses, for scratch memory.
    pub scratch: RemoteAddr,
    /// The first descriptor number above all that the image uses; see [`reserved`].
    pub reserved_fds: i32,
    /// The processes that share a descriptor table, and the position of each of them in its group;
    /// 0 is the owner, which creates the descriptors.
    pub shared_tables: BTreeMap<ProcessId, i32>,
    /// The clocks of the tree.
    pub clocks: Clocks,
}

/// The layout of the memory that every process has at [`Plan::scratch`] from [`Stage::Root`] on.
/// No process of the image has anything there, so [`Stage::MapMemory`] can unmap all the rest with
/// two calls, whatever the seed process looked like.
pub mod scratch {
    /// The number of bytes for the executor: its code, its batches and their data.
    pub const SIZE: u64 = 4 << 20;
    /// The offset at which the executor parks the vDSO of the seed process before it creates any
    /// child: the lowest of its mappings (`[vvar]`, `[vvar_vclock]`, `[vdso]`) moves to
    /// `Plan::scratch + PARKED`, the others keep their distances to it.
    /// [`Stage::MapMemory`](super::Stage::MapMemory) moves it from there to its address in the
    /// image, and unmaps the parking area.
    pub const PARKED: u64 = SIZE;
    /// The size of the parking area in bytes.
    pub const PARK_SIZE: u64 = 256 << 10;
    /// The total size in bytes.
    pub const TOTAL: u64 = PARKED + PARK_SIZE;
}

/// Descriptors that every task has above [`Plan::reserved_fds`] while it is restored. The executor
/// puts them there before [`Stage::CreateFiles`] and closes them after [`Stage::SealMemory`]. In a
/// table that several processes share, they are closed in [`Stage::Resume`].
pub mod reserved {
    /// The image file, opened for reading.
    pub const IMAGE: i32 = 0;
    /// `/proc` of the restore, a directory.
    pub const PROC: i32 = 1;
    /// The terminal of crust, if it has one (`--shell-job`).
    pub const TERMINAL: i32 = 2;
    /// The number of these descriptors. Numbers from here on are free for temporary use within one
    /// stage.
    pub const COUNT: i32 = 8;
}

impl Plan {
    /// Returns whether no task may begin the stage `next` before all have finished `before`.
    #[must_use]
    pub fn waits(&self, before: Stage, next: Stage) -> bool {
        // Descriptors that others open at arbitrary numbers could be in the way of descriptors that are
        // created at their final numbers.
        let is_last_of_files = before <= Stage::ConnectFiles && Stage::ConnectFiles < next;
        next.waits_for(before) || (is_last_of_files && !self.shared_tables.is_empty())
    }

    /// Returns a number for a temporary descriptor, different from those of the other processes
    /// with the same table. In such a table the number is in use from [`Stage::ConnectFiles`] on,
    /// so that nothing else lands at it.
    #[must_use]
    pub fn temporary_fd(&self, process: ProcessId) -> i32 {
        let place = self.shared_tables.get(&process).unwrap_or(&0);
        // A damaged image has numbers that no table can have; they are refused when planning.
        self.reserved_fds
            .saturating_add(reserved::COUNT)
            .saturating_add(*place)
    }

    /// Returns the call that closes the descriptors that only the restore needed.
    #[must_use]
    pub fn close_reserved(&self) -> Call {
        let first = word::from_int(self.reserved_fds);
        let last = first + reserved::COUNT as u64 - 1;
        Call::new(
            "close the descriptors of the restore",
            libc::SYS_close_range,
            [first.into(), last.into(), 0_u64.into()],
        )
    }

    /// Returns the steps of each task in each stage.
    #[must_use]
    pub fn stages(&self) -> &BTreeMap<Stage, BTreeMap<TaskId, Vec<Step>>> {
        &self.stages
    }

    /// Returns the number of steps of all tasks.
    #[must_use]
    pub fn step_count(&self) -> u64 {
        let of_tasks = self.stages.values().flat_map(BTreeMap::values);
        of_tasks.map(|steps| steps.len() as u64).sum()
    }

    /// Adds a step.
    pub fn step(&mut self, stage: Stage, task: TaskId, step: Step) -> CallRef {
        let steps = self
            .stages
            .entry(stage)
            .or_default()
            .entry(task)
            .or_default();
        steps.push(step);
        CallRef(index::number(steps.len() - 1))
    }

    /// Adds an operation.
    pub fn operate(&mut self, stage: Stage, task: TaskId, operation: impl Operation + 'static) {
        self.step(stage, task, Step::Operate(Planned::new(operation)));
    }

    /// Adds a system call; later calls of the same task in the same stage can use its result.
    pub fn call(&mut self, stage: Stage, task: TaskId, call: Call) -> CallRef {
        self.step(stage, task, Step::Call(call))
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.process, self.thread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A parent creates its children without waiting for processes that do not exist yet.
    #[test]
    fn nobody_waits_before_all_processes_are_created() {
        let plan = Plan::default();
        assert!(!plan.waits(Stage::Root, Stage::InheritedMemory));
        assert!(!plan.waits(Stage::InheritedMemory, Stage::Spawn));
        assert!(plan.waits(Stage::Spawn, Stage::Leaders));
    }
}
