// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The shadow stack pointer, which the kernel sets when it makes a shadow stack, and which a tracer
//! may move.

use crust_model::plan::{Operation, TaskHandle};
use crust_model::{Error, Result};
use crust_sys::ptrace;
use nix::errno::Errno;

/// Moves the pointer to where it was, once the kernel has made a shadow stack for the thread.
#[derive(Debug)]
pub(super) struct MovePointer {
    /// The end of the stack, where the pointer must be now, if that matters.
    pub from: Option<u64>,
    /// The value that the pointer had.
    pub to: u64,
}

impl Operation for MovePointer {
    fn describe(&self) -> String {
        format!("move the pointer of its shadow stack to {:x}", self.to)
    }

    fn run(&self, task: &mut dyn TaskHandle) -> Result<()> {
        let tid = task.tid();
        let failed = |what: &str, errno| Error::task(tid, what, errno);
        let made = ptrace::shadow_stack(tid)
            .map_err(|errno| failed("read the pointer of its shadow stack", errno))?;
        if let Some(from) = self.from.filter(|from| made != Some(*from)) {
            let made = made.unwrap_or_default();
            let what = format!("have its shadow stack end at {from:#x}, and not at {made:#x}");
            return Err(failed(&what, Errno::EEXIST));
        }
        ptrace::set_shadow_stack(tid, self.to)
            .map_err(|errno| failed("set the pointer of its shadow stack", errno))
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
        let pointer = MovePointer { from: None, to: 8 };
        let error = pointer.run(&mut task).unwrap_err();
        assert!(matches!(error, Error::Gone { .. }), "{error:?}");
        assert!(error.to_string().contains("pointer"), "{error}");
    }
}
