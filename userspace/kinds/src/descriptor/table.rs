// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The descriptor table of a process (`struct files_struct`): which numbers are open, and to what they refer.
//!
//! It is read from `/proc/PID/fd`. Processes made with `CLONE_FILES` share one table; its contents are in the record of
//! the first of them.

use crust_model::object::State;
use crust_model::plan::ProcessId;
use crust_model::words::count;
use serde::{Deserialize, Serialize};

use super::DescriptionId;
use super::lock::Lock;

/// A file descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The number of the descriptor.
    pub number: i32,
    /// The close-on-exec flag, `FD_CLOEXEC`.
    pub cloexec: bool,
    /// The open file description to which it refers.
    pub description: DescriptionId,
}

/// A lock that belongs to the table, no matter through which descriptor it was taken (`F_SETLK`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PosixLock {
    /// The device and inode number of the file.
    pub file: (u64, u64),
    /// A descriptor of the file that is open in the mode that the lock needs.
    pub number: i32,
    /// The lock.
    pub lock: Lock,
}

/// A descriptor table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The pid of its owner, by which other processes find it during a restore.
    pub pid: i32,
    /// The process with which the table is shared; if set, the other fields are empty.
    pub shares: Option<ProcessId>,
    /// The descriptors, sorted by number.
    pub slots: Vec<Slot>,
    /// The POSIX locks of the table.
    pub locks: Vec<PosixLock>,
}

impl State for Table {
    const TAG: u16 = 0x0300;
    const NAME: &'static str = "descriptor table";
    const SUPPORT: &'static str = "Numbers, close-on-exec flags, what is shared with and \
        duplicated to other processes, POSIX locks.";

    fn describe(&self) -> String {
        match self.shares {
            Some(process) => format!("the one of process {process}"),
            None => count(self.slots.len() as u64, "descriptor", "descriptors"),
        }
    }
}
