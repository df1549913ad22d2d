// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A plan: what a restore will do, as plain data.
//!
//! A restore is mostly a list of *system calls that the restored tasks themselves make*, from the
//! outside, before they run again. The plan names them all; the executor only decides how many go
//! into one batch. The plan is made of [`Stage`]s: every task finishes a stage before any task
//! begins the next (or so it seems: [`Stage::waits_for`]), so a step may rely on what other tasks did
//! in earlier stages, and on what its own task did before it.
//!
//! The same image gives the same plan, byte for byte.

pub mod call;
pub mod clocks;
pub mod operation;
pub mod text;
pub mod timeout;

use std::collections::BTreeMap;
use std::fmt;

use crust_sys::RemoteAddr;
use serde::{Deserialize, Serialize};

pub use self::call::{Arg, Call, CallRef, Data, Expect, Moment};
pub use self::clocks::{After, Clocks, Offsets, SECOND};
pub use self::operation::{Operation, Planned, TaskHandle};
pub use self::timeout::{Remaining, TimeoutLocation};
use crate::{Error, Result};

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
    /// Its thread.
    pub thread: u32,
}

impl ProcessId {
    /// Its thread group leader.
    #[must_use]
    pub fn leader(self) -> TaskId {
        TaskId {
            process: self,
            thread: 0,
        }
    }
}

/// The stages of a restore, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The processes are made, parents first, each with its pid.
    Spawn,
    /// Session and group leaders get their ids (without the module: some of it in `Spawn`).
    Leaders,
    /// Sessions get their pseudo-terminals, which were made before.
    Terminals,
    /// With the module: processes whose numbers are those of groups get their sessions, before others join
    /// these groups there.
    Groups,
    /// Everybody else gets group and session; the start times of processes are set.
    Members,
    /// Open file descriptions are made, each in the first process that has it.
    CreateFiles,
    /// Processes take descriptors that others made.
    ShareFiles,
    /// What needs other descriptors first: epoll interest lists, descriptors in flight, offsets.
    ConnectFiles,
    /// The old address space goes, the vDSO moves, the process's own mappings are laid out.
    MapMemory,
    /// Processes map shared memory that others made.
    ShareMemory,
    /// Pages are read from the image.
    FillMemory,
    /// Final protections, advice, locks; the kernel's record of the address space.
    SealMemory,
    /// The other threads are made.
    Threads,
    /// Threads switch on their shadow stacks, one after the other.
    ShadowStacks,
    /// Signal actions, names, scheduling, alternate stacks, rseq, working directory, descriptors
    /// that only the restore needed are closed.
    Attributes,
    /// Files are watched (inotify), after all tasks have opened and closed what they had to.
    Watches,
    /// Limits, root directory, credentials: what takes the privileges away.
    Credentials,
    /// Pending signals are queued (blocked until the end), timers are armed.
    Timers,
    /// Zombies exit, and are not waited for.
    Exit,
    /// Interrupted calls are begun again, registers and the start times of threads are set.
    Resume,
}

impl Stage {
    /// Whether a task must not begin this stage before all tasks are through with `before`, the one
    /// in front of it. Else what it does concerns only itself.
    #[must_use]
    pub fn waits_for(self, before: Self) -> bool {
        let is_private = matches!(
            self,
            Self::MapMemory
                | Self::FillMemory
                | Self::SealMemory
                | Self::Threads
                | Self::Attributes
                | Self::Credentials
                | Self::Timers
        );
        // Others map what was laid out for sharing: until then it stays as it is. What address space is taken
        // for shadow stacks is so until all threads have theirs.
        !is_private || [Self::ShareMemory, Self::ShadowStacks].contains(&before)
    }
}

/// The final state of a thread's processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processor {
    /// `struct user_regs_struct`, as `NT_PRSTATUS` has it.
    pub general: Vec<u8>,
    /// The XSAVE area, as `NT_X86_XSTATE` has it.
    pub xstate: Vec<u8>,
    /// The blocked signals.
    pub signal_mask: u64,
    /// The thread goes on from the entry of the call in which it was interrupted.
    pub enters: bool,
    /// What is left of the limit of that call.
    pub limit: Option<Remaining>,
}

/// Something that a restore does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A system call of the task.
    Call(Call),
    /// Bytes put into the task's memory from outside.
    Write {
        /// What they are.
        what: String,
        /// Where.
        address: RemoteAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Something that is no system call, and that only one kind of object needs.
    Operate(Planned),
    /// [`Stage::Resume`]: an operation after the registers of the task are set: it makes no calls any more.
    OperateAtEnd(Planned),
    /// [`Stage::Spawn`]: the task makes this child process. (Also in [`Stage::Leaders`], one that is dismissed later.)
    SpawnChild {
        /// The child.
        child: ProcessId,
        /// Its pid, innermost namespace first; empty for any that no task of the plan has.
        pid: Vec<i32>,
        /// The signal that tells of its end, 0 for none.
        exit_signal: i32,
        /// More flags of `clone3`: what it shares with the task.
        flags: u64,
    },
    /// A child of the task that has stood in for a process that is not there ends, and leaves nothing.
    Dismiss {
        /// The child.
        child: ProcessId,
    },
    /// [`Stage::Threads`]: the task makes this thread of its process.
    SpawnThread {
        /// The thread.
        thread: TaskId,
        /// Its tid, innermost namespace first.
        tid: Vec<i32>,
    },
    /// [`Stage::Exit`]: the process becomes a zombie with this status (as of `wait4`).
    Exit {
        /// The status.
        status: i32,
    },
    /// [`Stage::Exit`]: the leader ends with this status (as of `wait4`), while the other threads of its process
    /// go on.
    ExitLeader {
        /// The status.
        status: i32,
    },
    /// [`Stage::Resume`]: the call that the thread was in when it was dumped is begun again and
    /// interrupted at once, so that the kernel itself sets up how it goes on.
    Reenter(Call),
    /// [`Stage::Resume`]: a call that is made when no task makes any other, with all signals blocked.
    CallAtLast(Call),
    /// [`Stage::Resume`]: what every thread goes on with in the end.
    SetProcessor(Box<Processor>),
    /// [`Stage::Resume`], of a leader: the process stays stopped.
    StayStopped(StayStopped),
}

/// How a process stays stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StayStopped {
    /// As by this signal: `SIGSTOP` or its kin.
    pub signal: i32,
    /// Its parent; of the root, the root itself.
    pub parent: ProcessId,
    /// What that was told of it.
    pub reported: StopReported,
    /// A `SIGCHLD` waits there anyway.
    pub signal_waits: bool,
}

/// What a parent was told of the stop of a child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReported {
    /// Nothing yet.
    #[default]
    Nothing,
    /// It got its `SIGCHLD`.
    Signal,
    /// It has waited for it, too.
    Status,
}

/// What is to be done, and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// For each stage, for each task, its steps.
    pub stages: BTreeMap<Stage, BTreeMap<TaskId, Vec<Step>>>,
    /// The range of addresses that no process of the image uses: scratch memory goes there.
    pub scratch: RemoteAddr,
    /// The first descriptor number above all that the image uses; see [`reserved`].
    pub reserved_fds: i32,
    /// The processes that have a table of descriptors together with others, and which place each has among them;
    /// 0 is the owner, who makes the descriptors.
    pub shared_tables: BTreeMap<ProcessId, i32>,
    /// The clocks of the tree.
    pub clocks: Clocks,
}

/// What every process has at [`Plan::scratch`] from [`Stage::Spawn`] on. No process of the image
/// has anything there, so [`Stage::MapMemory`] can unmap all the rest with two calls, whatever the
/// blank looked like.
pub mod scratch {
    /// Bytes for the executor: its code, its batches and their data.
    pub const SIZE: u64 = 4 << 20;
    /// Where the executor parks the vDSO of the blank before it makes any child: the lowest of its
    /// mappings (`[vvar]`, `[vvar_vclock]`, `[vdso]`) goes to `Plan::scratch + PARKED`, the others
    /// keep their distances to it. [`Stage::MapMemory`](super::Stage::MapMemory) takes it from
    /// there to where the image had it, and unmaps the park.
    pub const PARKED: u64 = SIZE;
    /// Bytes of the park.
    pub const PARK_SIZE: u64 = 256 << 10;
    /// All of it.
    pub const TOTAL: u64 = PARKED + PARK_SIZE;
}

/// Descriptors that every task has above [`Plan::reserved_fds`] while it is restored. The
/// executor puts them there before [`Stage::CreateFiles`] and closes them after
/// [`Stage::SealMemory`]. Those of a table that several processes have go in [`Stage::Resume`].
pub mod reserved {
    /// The image file, opened for reading.
    pub const IMAGE: i32 = 0;
    /// `/proc` of the restore, a directory.
    pub const PROC: i32 = 1;
    /// The terminal of the tool, if it has one (`--shell-job`).
    pub const TERMINAL: i32 = 2;
    /// How many there are. Numbers from here on are free for temporary use within one stage.
    pub const COUNT: i32 = 8;
}

impl Plan {
    /// Whether no task may begin the stage `next` before all are through with `before`.
    #[must_use]
    pub fn waits(&self, before: Stage, next: Stage) -> bool {
        // What others open at any number would be in the way of descriptors that are made at theirs.
        let is_last_of_files = before <= Stage::ConnectFiles && Stage::ConnectFiles < next;
        next.waits_for(before) || (is_last_of_files && !self.shared_tables.is_empty())
    }

    /// A number for a temporary descriptor, different from those of the other processes that have the same table.
    /// There it is taken from [`Stage::ConnectFiles`] on, so that nothing else lands at it.
    #[must_use]
    pub fn temporary_fd(&self, process: ProcessId) -> i32 {
        let place = self.shared_tables.get(&process).unwrap_or(&0);
        self.reserved_fds + reserved::COUNT + place
    }

    /// Closes the descriptors that only the restore needed.
    #[must_use]
    pub fn close_reserved(&self) -> Call {
        let first = self.reserved_fds as u64;
        let last = first + reserved::COUNT as u64 - 1;
        Call::new(
            "close the descriptors of the restore",
            libc::SYS_close_range,
            [first.into(), last.into(), 0_u64.into()],
        )
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
        CallRef(steps.len() as u32 - 1)
    }

    /// The number of the first step by which a process makes a child.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if there is no such process.
    pub fn births(&self, process: ProcessId) -> Result<usize> {
        let steps = self
            .stages
            .get(&Stage::Spawn)
            .and_then(|tasks| tasks.get(&process.leader()));
        let is_birth =
            |step: &Step| matches!(step, Step::SpawnChild { child, .. } if *child != process);
        steps
            .and_then(|steps| steps.iter().position(is_birth))
            .ok_or_else(|| Error::malformed(process.to_string(), "the plan gives it no child"))
    }

    /// Puts calls before step `at` of the first stage of a process. They know their numbers; what
    /// follows is counted on.
    pub fn insert_calls(&mut self, process: ProcessId, at: usize, calls: Vec<Call>) {
        let count = calls.len() as u32;
        let tasks = self.stages.entry(Stage::Spawn).or_default();
        let steps = tasks.entry(process.leader()).or_default();
        for step in &mut steps[at..] {
            if let Step::Call(call) = step {
                for arg in &mut call.args {
                    match arg {
                        Arg::Returned(reference) if reference.0 as usize >= at => {
                            reference.0 += count;
                        }
                        _ => {}
                    }
                }
            }
        }
        steps.splice(at..at, calls.into_iter().map(Step::Call));
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
