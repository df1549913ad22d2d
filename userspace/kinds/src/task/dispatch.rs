// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Syscall user dispatch (`PR_SET_SYSCALL_USER_DISPATCH`): system calls of a thread, except those from a range of
//! addresses, become a `SIGSYS` with which the program emulates them, as long as a byte in its memory says so.
//!
//! The tracer reads and sets it (Linux 6.4). It is set when the thread makes no more calls for crust.

use crust_model::object::State;
use crust_model::plan::{Operation, Planned, Stage, Step, TaskHandle, TaskId};
use crust_model::{Error, Result};
use crust_sys::ptrace::{self, UserDispatch};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

/// The dispatch settings of a thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch(UserDispatch);

impl State for Dispatch {
    const TAG: u16 = 0x011b;
    const NAME: &'static str = "syscall user dispatch";
    const SUPPORT: &'static str = "its range and its selector, of each thread";

    fn describe(&self) -> String {
        let UserDispatch {
            selector,
            offset,
            len,
            ..
        } = self.0;
        format!(
            "selector at {selector:#x}, but not for calls from {offset:#x} to {:#x}",
            offset.wrapping_add(len)
        )
    }
}

impl Kind for Dispatch {
    type Source = OfThread;
}

impl ThreadAspect for Dispatch {
    fn capture(view: &ThreadView<'_>, _: &mut Capture<'_>) -> Result<Option<Self>> {
        let tid = view.thread.tid;
        match ptrace::user_dispatch(tid) {
            Ok(config) => Ok((config.mode != 0).then_some(Self(config))),
            // EIO: a kernel before 6.4, which does not report it.
            Err(Errno::EIO | Errno::EINVAL) => Ok(None),
            Err(errno) => Err(Error::task(tid, "read syscall user dispatch", errno)),
        }
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        let operation = Planned::new(SetDispatch(self.0));
        cx.plan
            .step(Stage::Resume, task, Step::OperateAtEnd(operation));
        Ok(())
    }
}

/// Enables syscall user dispatch for the thread.
#[derive(Debug)]
struct SetDispatch(UserDispatch);

impl Operation for SetDispatch {
    fn describe(&self) -> String {
        "have its system calls dispatched to itself".into()
    }

    fn run(&self, task: &mut dyn TaskHandle) -> Result<()> {
        ptrace::set_user_dispatch(task.tid(), &self.0)
            .map_err(|errno| Error::task(task.tid(), "set its syscall user dispatch", errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_task::ScriptedTask;

    /// The thread of a test is not traced, which is `ESRCH`.
    #[test]
    fn a_thread_that_is_gone_is_an_error() {
        let mut task = ScriptedTask::new([]);
        let error = SetDispatch(UserDispatch::default())
            .run(&mut task)
            .unwrap_err();
        assert!(matches!(error, Error::Gone { .. }), "{error:?}");
        assert!(
            error.to_string().contains("set its syscall user dispatch"),
            "{error}"
        );
    }
}
