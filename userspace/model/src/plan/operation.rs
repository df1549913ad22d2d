// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a restore does with a task beside system calls: an operation is written beside the kind that needs it, and the
//! executor runs it without knowing what it is.

use std::fmt;
use std::sync::Arc;

use crust_sys::RemoteAddr;
use crust_sys::device::Device;

use super::{Offsets, TaskId};
use crate::Result;

/// Something that is done with a task while it stands still between two batches of system calls.
pub trait Operation: fmt::Debug + Send + Sync {
    /// What it does, in words: what `restore --plan` prints.
    fn describe(&self) -> String;

    /// Does it.
    ///
    /// # Errors
    ///
    /// What broke; the restore fails then, and undoes itself.
    fn run(&self, task: &mut dyn TaskHandle) -> Result<()>;
}

/// A stopped task of a restore, as an [`Operation`] sees it.
pub trait TaskHandle {
    /// Which of the plan it is.
    fn id(&self) -> TaskId;

    /// The number of its process, as the tool sees it.
    fn pid(&self) -> i32;

    /// Its own number, as the tool sees it.
    fn tid(&self) -> i32;

    /// Has it make a system call.
    ///
    /// # Errors
    ///
    /// The error of the call, or why the task could not make it.
    fn call(&self, label: &str, number: i64, args: &[u64]) -> Result<u64>;

    /// Its scratch memory that no batch is in now: what an operation writes there is gone after it.
    fn memory(&self) -> RemoteAddr;

    /// Has it load its tile configuration (AMX), and release it again.
    ///
    /// # Errors
    ///
    /// Why it could not.
    fn load_tiles(&self) -> Result<()>;

    /// The device of the module.
    ///
    /// # Errors
    ///
    /// If there is no module: then nothing should have planned the operation.
    fn device(&self) -> Result<&Device>;

    /// The offsets of the clocks in its time namespace: at the dump, and now.
    fn offsets(&self) -> (Offsets, Offsets);

    /// Reports that `object` is lost; the restore goes on. The same loss of many tasks is reported once.
    fn lose(&mut self, object: &str, why: &str, remedy: &str);
}

/// An operation as a part of a plan.
#[derive(Clone)]
pub struct Planned(Arc<dyn Operation>);

impl Planned {
    /// Makes a part of a plan of an operation.
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

/// Two are the same if they say the same of themselves.
impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

impl Eq for Planned {}
