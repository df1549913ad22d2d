// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Process groups and sessions into which the module puts a process.

use std::os::fd::AsFd;
use std::time::Duration;

use crust_model::plan::{Operation, TaskHandle};
use crust_model::{Error, Result};
use crust_sys::pidfd;
use nix::errno::Errno;

/// The number of times the call to the module is retried, a millisecond apart, while the process is entering a stop.
const RETRIES: u32 = 100;

/// Has the module put the process into a group and a session; 0 leaves either unchanged.
#[derive(Debug)]
pub(super) struct SetIds {
    /// The process group.
    pub pgid: i32,
    /// The session.
    pub sid: i32,
}

impl Operation for SetIds {
    fn describe(&self) -> String {
        match (self.pgid, self.sid) {
            (0, sid) => format!("module: join session {sid}"),
            (pgid, 0) => format!("module: join group {pgid}"),
            (pgid, sid) => format!("module: join group {pgid}, session {sid}"),
        }
    }

    fn run(&self, task: &mut dyn TaskHandle) -> Result<()> {
        let &Self { pgid, sid } = self;
        let what = format!("join group {pgid} of session {sid}");
        let failed = |errno| Error::task(task.tid(), &what, errno);
        let device = task.device()?;
        let handle = pidfd::open(task.pid()).map_err(failed)?;
        for _ in 0..RETRIES {
            match device.set_ids(handle.as_fd(), pgid, sid) {
                Err(Errno::EAGAIN) => std::thread::sleep(Duration::from_millis(1)),
                result => return result.map_err(failed),
            }
        }
        Err(failed(Errno::EAGAIN))
    }
}
