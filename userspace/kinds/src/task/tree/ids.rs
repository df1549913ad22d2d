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
        let module = task.module()?;
        let handle = pidfd::open(task.pid()).map_err(failed)?;
        for _ in 0..RETRIES {
            match module.set_ids(handle.as_fd(), pgid, sid) {
                Err(Errno::EAGAIN) => std::thread::sleep(Duration::from_millis(1)),
                result => return result.map_err(failed),
            }
        }
        Err(failed(Errno::EAGAIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_task::{Action, DONE, ScriptedTask, assert_fails};

    const IDS: SetIds = SetIds { pgid: 7, sid: 5 };
    const SET: Action<'_> = Action::SetIds(7, 5);

    #[test]
    fn a_process_that_enters_a_stop_is_asked_again() {
        let again = (SET, Err(Errno::EAGAIN));
        let mut task = ScriptedTask::new([again, again, (SET, DONE)]);
        IDS.run(&mut task).unwrap();
        task.end();
    }

    #[test]
    fn one_that_never_stops_is_an_error() {
        let again = (SET, Err(Errno::EAGAIN));
        let mut task = ScriptedTask::new(vec![again; RETRIES as usize]);
        assert_fails(IDS.run(&mut task), Errno::EAGAIN);
        task.end();
    }

    #[test]
    fn what_the_module_declines_is_named() {
        let mut task = ScriptedTask::new([(SET, Err(Errno::EPERM))]);
        let message = assert_fails(IDS.run(&mut task), Errno::EPERM);
        assert!(message.contains("join group 7 of session 5"), "{message}");
        task.end();
        let mut task = ScriptedTask::new([]);
        task.has_module = false;
        IDS.run(&mut task).unwrap_err();
    }
}
