// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A task that exists in tests only: operations run on it without a tracee, a module or root.
//!
//! It follows a script, which has what an operation is to do, in order, and what comes of it. It
//! panics where the operation does something else, or leaves something out.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, BorrowedFd};

use crust_model::plan::{Module, Offsets, ProcessId, TaskHandle, TaskId};
use crust_model::{Error, Result};
use crust_sys::RemoteAddr;
use crust_sys::uapi::Usage;
use nix::errno::Errno;
use nix::unistd::gettid;

/// Something that an operation is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action<'a> {
    /// A system call with this number and these arguments.
    Call(i64, &'a [u64]),
    /// To read as many bytes from an address.
    Read(RemoteAddr, usize),
    /// To write these bytes to an address.
    Write(RemoteAddr, &'a [u8]),
    /// To have the task load its tile configuration.
    LoadTiles,
    /// To have the module set the group and session.
    SetIds(i32, i32),
    /// To have the module set the start time.
    SetStart(u64),
    /// To have the module add to the resource usage.
    AddUsage(Usage),
}

/// What comes of an action: what a call returns, and for others 0; the bytes that are read are those
/// of the number.
type Outcome = nix::Result<u64>;

/// A task that follows a script.
pub struct ScriptedTask<'a> {
    /// The identity of the task in the plan.
    pub id: TaskId,
    /// The offsets of the clocks in its time namespace: at the dump, and now.
    pub offsets: (Offsets, Offsets),
    /// Whether there is a module.
    pub has_module: bool,
    script: RefCell<VecDeque<(Action<'a>, Outcome)>>,
    /// The objects that were reported as lost.
    losses: Vec<String>,
}

/// The address of the scratch memory.
pub const MEMORY: RemoteAddr = RemoteAddr(0x10000);

impl<'a> ScriptedTask<'a> {
    /// Returns the leader of a process with a script. Its process is that of the test, and its
    /// thread is the one that calls, so that there can be pidfds for both.
    pub fn new(script: impl IntoIterator<Item = (Action<'a>, Outcome)>) -> Self {
        Self {
            id: ProcessId(0).leader(),
            offsets: <(Offsets, Offsets)>::default(),
            has_module: true,
            script: RefCell::new(script.into_iter().collect()),
            losses: Vec::new(),
        }
    }

    /// Asserts that the script is done, and returns the objects that were reported as lost.
    pub fn end(self) -> Vec<String> {
        let left = self.script.into_inner();
        assert!(left.is_empty(), "left out: {left:?}");
        self.losses
    }

    /// Takes the next outcome from the script, which must have this action.
    fn outcome(&self, action: Action<'_>) -> Outcome {
        let next = self.script.borrow_mut().pop_front();
        let (expected, outcome) = next.unwrap_or_else(|| panic!("not in the script: {action:?}"));
        assert_eq!(action, expected);
        outcome
    }

    fn act(&self, label: &str, action: Action<'_>) -> Result<u64> {
        let outcome = self.outcome(action);
        outcome.map_err(|errno| Error::task(self.tid(), label, errno))
    }
}

impl TaskHandle for ScriptedTask<'_> {
    fn id(&self) -> TaskId {
        self.id
    }

    fn pid(&self) -> i32 {
        std::process::id() as i32
    }

    fn tid(&self) -> i32 {
        gettid().as_raw()
    }

    fn call(&self, label: &str, number: i64, args: &[u64]) -> Result<u64> {
        self.act(label, Action::Call(number, args))
    }

    fn memory(&self) -> RemoteAddr {
        MEMORY
    }

    fn read(&self, label: &str, from: RemoteAddr, into: &mut [u8]) -> Result<()> {
        let value = self.act(label, Action::Read(from, into.len()))?;
        into.copy_from_slice(&value.to_ne_bytes()[..into.len()]);
        Ok(())
    }

    fn write(&self, label: &str, to: RemoteAddr, bytes: &[u8]) -> Result<()> {
        self.act(label, Action::Write(to, bytes)).map(drop)
    }

    fn load_tiles(&self) -> Result<()> {
        self.act("load tiles", Action::LoadTiles).map(drop)
    }

    fn module(&self) -> Result<&dyn Module> {
        match self.has_module {
            true => Ok(self),
            false => Err(Error::malformed("the plan", "there is no module")),
        }
    }

    fn offsets(&self) -> (Offsets, Offsets) {
        self.offsets
    }

    fn lose(&mut self, object: &str, _: &str, _: &str) {
        self.losses.push(object.into());
    }
}

impl Module for ScriptedTask<'_> {
    fn set_ids(&self, process: BorrowedFd<'_>, pgid: i32, sid: i32) -> nix::Result<()> {
        assert_eq!(target(process), self.pid());
        self.outcome(Action::SetIds(pgid, sid)).map(drop)
    }

    fn set_start(&self, task: BorrowedFd<'_>, boottime: u64) -> nix::Result<()> {
        let own = match self.id.thread {
            0 => self.pid(),
            _ => self.tid(),
        };
        assert_eq!(target(task), own);
        self.outcome(Action::SetStart(boottime)).map(drop)
    }

    fn add_usage(&self, process: BorrowedFd<'_>, usage: &Usage) -> nix::Result<()> {
        assert_eq!(target(process), self.pid());
        self.outcome(Action::AddUsage(*usage)).map(drop)
    }
}

/// Returns the task of a pidfd (`proc_pid_fdinfo(5)`).
fn target(pidfd: BorrowedFd<'_>) -> i32 {
    let path = format!("/proc/thread-self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(path).unwrap();
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    pid.unwrap().trim().parse().unwrap()
}

/// Returns the outcome of an action that succeeds without a result.
pub const DONE: Outcome = Ok(0);

/// Asserts that an operation fails with this error number, and returns the message.
pub fn assert_fails(result: Result<()>, errno: Errno) -> String {
    let error = result.unwrap_err();
    assert!(
        matches!(error, Error::Task { errno: found, .. } if found == errno),
        "{error:?}"
    );
    error.to_string()
}
