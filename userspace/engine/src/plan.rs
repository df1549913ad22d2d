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

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crust_sys::RemoteAddr;
use crust_sys::ptrace::{Segment, UserDispatch};
use serde::{Deserialize, Serialize};

use crate::clock::Offsets;
use crate::limit::Left;
use crate::object::file::uring::Uring;
use crate::object::task::usage::Usage;
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
    /// Signal actions, names, scheduling, alternate stacks, rseq, working directory, descriptors
    /// that only the restore needed are closed.
    Attributes,
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
        // Others map what was laid out for sharing: until then it stays as it is.
        !is_private || before == Self::ShareMemory
    }
}

/// A value that a system call takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arg {
    /// A number, also a descriptor, or an address in the task.
    Value(u64),
    /// The address of a copy of these bytes, which is there for this call only.
    Data(Data),
    /// What an earlier call *of the same task in the same stage* returned.
    Returned(CallRef),
}

/// Bytes in the scratch memory of a task, with pointers to other such bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The bytes themselves.
    pub bytes: Vec<u8>,
    /// At byte offset `.0` of `bytes` goes the 64-bit address of `.1`.
    pub pointers: Vec<(usize, Data)>,
    /// At byte offset `.0` of `bytes` goes a `struct timespec` of the moment `.1`.
    pub moments: Vec<(usize, Moment)>,
}

/// A moment that is known when the call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The clock.
    pub clock: i32,
    /// So many nanoseconds after now, or before it if negative.
    pub from_now: i64,
}

impl Data {
    /// Plain bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            ..Self::default()
        }
    }

    /// A path or another string, with the zero that ends it.
    pub fn string(text: impl AsRef<[u8]>) -> Self {
        let mut bytes = text.as_ref().to_vec();
        bytes.push(0);
        Self::new(bytes)
    }

    /// A structure or array of 64-bit numbers.
    #[must_use]
    pub fn words(words: &[u64]) -> Self {
        Self::new(
            words
                .iter()
                .flat_map(|word| word.to_ne_bytes())
                .collect::<Vec<u8>>(),
        )
    }

    /// Puts a moment at `offset`.
    #[must_use]
    pub fn moment(mut self, offset: usize, moment: Moment) -> Self {
        self.moments.push((offset, moment));
        self
    }

    /// Puts the address of `target` at `offset`.
    #[must_use]
    pub fn pointer(mut self, offset: usize, target: Data) -> Self {
        self.pointers.push((offset, target));
        self
    }
}

/// A call of the plan that a later one refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRef(pub u32);

/// Which results of a call are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// Anything but an error number.
    Success,
    /// This number.
    Exactly(u64),
    /// Anything; for what may fail without harm. Say why at the place that uses it.
    Anything,
}

/// One system call, made by the task itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// For the plan and for errors: object and operation, as `fd 3: open /var/log/x`.
    pub what: String,
    /// Its number.
    pub nr: i64,
    /// Its arguments.
    pub args: Vec<Arg>,
    /// What it must return.
    pub expect: Expect,
}

impl Call {
    /// A call that must succeed.
    pub fn new(what: impl Into<String>, nr: i64, args: impl Into<Vec<Arg>>) -> Self {
        Self {
            what: what.into(),
            nr,
            args: args.into(),
            expect: Expect::Success,
        }
    }

    /// A call that must return `value`.
    #[must_use]
    pub fn returns(mut self, value: u64) -> Self {
        self.expect = Expect::Exactly(value);
        self
    }

    /// The same call, among steps before which there are `base` of other stages.
    #[must_use]
    pub fn counted_from(&self, base: u32) -> Cow<'_, Self> {
        let refers = |arg: &Arg| matches!(arg, Arg::Returned(_));
        let mut call = Cow::Borrowed(self);
        if base != 0 && self.args.iter().any(refers) {
            for arg in &mut call.to_mut().args {
                if let Arg::Returned(reference) = arg {
                    reference.0 += base;
                }
            }
        }
        call
    }

    /// The same call, with the moments in its data as a task sees its clocks.
    #[must_use]
    pub fn now(call: Cow<'_, Self>, clock: impl Fn(i32) -> u64) -> Cow<'_, Self> {
        const SECOND: u64 = 1_000_000_000;
        let has_moments = |arg: &Arg| matches!(arg, Arg::Data(data) if !data.moments.is_empty());
        if !call.args.iter().any(has_moments) {
            return call;
        }
        let mut call = call.into_owned();
        for arg in &mut call.args {
            let Arg::Data(data) = arg else { continue };
            for (offset, moment) in std::mem::take(&mut data.moments) {
                let time = clock(moment.clock).saturating_add_signed(moment.from_now);
                let parts = [time / SECOND, time % SECOND]
                    .map(u64::to_ne_bytes)
                    .concat();
                data.bytes[offset..][..16].copy_from_slice(&parts);
            }
        }
        Cow::Owned(call)
    }

    /// A call whose result does not matter.
    #[must_use]
    pub fn whatever(mut self) -> Self {
        self.expect = Expect::Anything;
        self
    }
}

impl From<u64> for Arg {
    fn from(value: u64) -> Self {
        Self::Value(value)
    }
}

impl From<i32> for Arg {
    /// Sign-extended, as C would pass an `int` for a `long`.
    fn from(value: i32) -> Self {
        Self::Value(i64::from(value) as u64)
    }
}

impl From<RemoteAddr> for Arg {
    fn from(value: RemoteAddr) -> Self {
        Self::Value(value.0)
    }
}

impl From<Data> for Arg {
    fn from(value: Data) -> Self {
        Self::Data(value)
    }
}

impl From<CallRef> for Arg {
    fn from(value: CallRef) -> Self {
        Self::Returned(value)
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
    pub limit: Option<Left>,
}

/// Something that a restore does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// [`Stage::CreateFiles`]: a new ring of the task gets the counters and the memory of this one.
    WindRing {
        /// Its descriptor.
        number: i32,
        /// What it is to be.
        ring: Box<Uring>,
    },
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
    /// The module puts the process into a group and a session; 0 leaves one.
    SetIds {
        /// The group.
        pgid: i32,
        /// The session.
        sid: i32,
    },
    /// The module sets when the thread began, or with it the process, in nanoseconds.
    SetStart {
        /// On the monotonic clock.
        monotonic: u64,
        /// On the boot-time clock.
        boottime: u64,
    },
    /// The module adds to what the process has used.
    AddUsage(Usage),
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
    /// [`Stage::Resume`]: a segment of the thread in the global descriptor table.
    SetSegment(Segment),
    /// [`Stage::Resume`]: the system calls of the thread are dispatched to itself from here on.
    SetDispatch(UserDispatch),
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
    /// What that has heard of it.
    pub heard: Heard,
    /// A `SIGCHLD` waits there anyway.
    pub signal_waits: bool,
}

/// What a parent has heard of the stop of a child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heard {
    /// Nothing yet.
    #[default]
    Nothing,
    /// It got its `SIGCHLD`.
    Signal,
    /// It has waited for it, too.
    Status,
}

/// What the clocks of the tree say that count from the start of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// What the time namespace of the dump added.
    pub before: Offsets,
    /// What they say after the restore.
    pub after: After,
}

/// The time namespace in which a tree is born.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// That of crust.
    #[default]
    OfCrust,
    /// A new one with these offsets.
    Shifted(Offsets),
    /// A new one in which the clocks go on from here, in nanoseconds.
    Continued {
        /// `CLOCK_MONOTONIC`.
        monotonic: u64,
        /// `CLOCK_BOOTTIME`.
        boottime: u64,
    },
}

impl After {
    /// The offsets of the namespace on a machine whose clocks say `machine` (monotonic and since boot) in
    /// the initial namespace, and for crust so much more.
    #[must_use]
    pub fn offsets(self, machine: [u64; 2], ours: Offsets) -> Offsets {
        match self {
            Self::OfCrust => ours,
            Self::Shifted(offsets) => offsets,
            Self::Continued {
                monotonic,
                boottime,
            } => {
                // Whole ticks of `/proc/PID/stat`, so that start times in there stay what they were.
                const TICK: i64 = 10_000_000;
                let ticks = |offset: u64| -(-(offset as i64)).div_euclid(TICK) * TICK;
                Offsets {
                    monotonic: ticks(monotonic.wrapping_sub(machine[0])),
                    boottime: ticks(boottime.wrapping_sub(machine[1])),
                }
            }
        }
    }

    /// By how much a moment is to be shifted (monotonic and since boot, in the initial namespace) so that
    /// the program sees it where it was, if the namespace of the dump added `before`.
    #[must_use]
    pub fn shift(self, before: Offsets, machine: [u64; 2], ours: Offsets) -> [i64; 2] {
        let after = self.offsets(machine, ours);
        [
            before.monotonic - after.monotonic,
            before.boottime - after.boottime,
        ]
    }
}

/// What is to be done, and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
