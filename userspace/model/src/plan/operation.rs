// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Operations: what a restore does with a task apart from system calls. An operation is defined
//! beside the kind that needs it, and the executor runs it without knowing what it is.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crust_sys::RemoteAddr;
use crust_sys::uapi::Usage;

use super::{Offsets, TaskId};
use crate::Result;

/// An action on a task while it is stopped between two batches of system calls.
pub trait Operation: fmt::Debug + Send + Sync {
    /// Returns a description of the operation, which `restore --plan` prints.
    fn describe(&self) -> String;

    /// Runs the operation.
    ///
    /// # Errors
    ///
    /// Fails with the cause; the restore then fails too, and undoes itself.
    fn run(&self, task: &mut dyn TaskHandle) -> Result<()>;
}

/// A stopped task of a restore, as an [`Operation`] sees it.
pub trait TaskHandle {
    /// Returns the identity of the task in the plan.
    fn id(&self) -> TaskId;

    /// Returns the process id of the task, as crust sees it.
    fn pid(&self) -> i32;

    /// Returns the thread id of the task, as crust sees it.
    fn tid(&self) -> i32;

    /// Makes the task execute a system call.
    ///
    /// # Errors
    ///
    /// Fails with the error of the call, or the reason why the task could not make it.
    fn call(&self, label: &str, number: i64, args: &[u64]) -> Result<u64>;

    /// Returns scratch memory of the task that holds no batch now: what an operation writes there
    /// is lost afterwards.
    fn memory(&self) -> RemoteAddr;

    /// Fills `into` from the memory of the task; `label` is the operation in errors.
    ///
    /// # Errors
    ///
    /// Fails if a part of it cannot be read.
    fn read(&self, label: &str, from: RemoteAddr, into: &mut [u8]) -> Result<()>;

    /// Writes into memory that the task could write itself; `label` is the operation in errors.
    ///
    /// # Errors
    ///
    /// Fails if a part of it cannot be written.
    fn write(&self, label: &str, to: RemoteAddr, bytes: &[u8]) -> Result<()>;

    /// Makes the task load its tile configuration (AMX), and release it again.
    ///
    /// # Errors
    ///
    /// Fails if the task cannot do so.
    fn load_tiles(&self) -> Result<()>;

    /// Returns the module.
    ///
    /// # Errors
    ///
    /// Fails if there is no module: then nothing should have planned the operation.
    fn module(&self) -> Result<&dyn Module>;

    /// Returns the offsets of the clocks in the task's time namespace: at the dump, and now.
    fn offsets(&self) -> (Offsets, Offsets);

    /// Reports that `object` is lost; the restore continues. The same loss in many tasks is
    /// reported once.
    fn lose(&mut self, object: &str, why: &str, remedy: &str);
}

/// The module, as far as an [`Operation`] needs it: what it changes of a task, which is given by a
/// pidfd, and no system call does.
pub trait Module {
    /// Puts a process into a process group and a session; 0 leaves one unchanged.
    ///
    /// # Errors
    ///
    /// `EAGAIN` while the process is entering a stop, or another error of the request.
    fn set_ids(&self, process: BorrowedFd<'_>, pgid: i32, sid: i32) -> nix::Result<()>;

    /// Sets the start time of a task, in nanoseconds on the boot-time clock of crust.
    ///
    /// # Errors
    ///
    /// `EPERM` in a user namespace, or another error of the request.
    fn set_start(&self, task: BorrowedFd<'_>, boottime: u64) -> nix::Result<()>;

    /// Adds to the resource usage of a process.
    ///
    /// # Errors
    ///
    /// `EPERM` in a user namespace, `EOVERFLOW` for a sum that no counter holds, or another error
    /// of the request.
    fn add_usage(&self, process: BorrowedFd<'_>, usage: &Usage) -> nix::Result<()>;
}

/// An operation as a part of a plan.
#[derive(Clone)]
pub struct Planned(Arc<dyn Operation>);

impl Planned {
    /// Makes an operation a part of a plan.
    pub fn new(operation: impl Operation + 'static) -> Self {
        Self(Arc::new(operation))
    }
}

impl std::ops::Deref for Planned {
    type Target = dyn Operation;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Two operations are equal if their debug output is.
impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

impl Eq for Planned {}
